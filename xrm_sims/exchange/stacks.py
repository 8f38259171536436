"""TIFF stacks, one file or a folder of slices: CT volumes, SE images and SIMS maps measured on other instruments."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.data import open_results, results
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import record_whole
from xrm_sims.exchange.runs import origin, stack_documents
from xrm_sims.exchange.sidecar import SeSidecar, SidecarBase, SimsSidecar, VolumeSidecar, find_sidecar, read_sidecar
from xrm_sims.exchange.store import FrameFiles
from xrm_sims.exchange.writing import Progress, library

ENDINGS = (".tif", ".tiff")
SLAB_BYTES = 4 << 20


@dataclass(frozen=True)
class TiffPages:
    """The pages of a stack, all of one shape and type, read on demand."""

    files: list[tuple[Path, int]]
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return (page, row, column). Raises ValueError naming a page that is unreadable or not finite."""
        tifffile = library("tifffile")
        pages = np.empty((stop - start, *self.shape), self.dtype)
        for n, (path, page) in enumerate(self.files[start:stop]):
            try:
                pages[n] = tifffile.imread(path, key=page)
            except Exception as error:  # tifffile raises many types of error
                raise ValueError(
                    f"{path}: page {page} cannot be read ({_one_line(error)}); is the file whole?"
                ) from error
        if pages.dtype.kind == "f" and not np.isfinite(pages).all():
            bad = start + int(np.flatnonzero(~np.isfinite(pages).all(axis=(1, 2)))[0])
            raise ValueError(f"{self.files[bad][0]}: page {self.files[bad][1]} has numbers that are not finite")
        return pages


def is_stack(path: Path) -> bool:
    """Return whether this is a TIFF, by its name, or a folder of them."""
    return path.suffix.lower() in ENDINGS or (path.is_dir() and bool(_slices(path)))


def import_stack(
    path: Path, layout: Layout, sidecar: Path | None, metadata: Mapping[str, Any], progress: Progress
) -> str:
    """Import a stack according to its description; return the uid of the new run. See ``import_file``."""
    description = read_sidecar(find_sidecar(path, sidecar))
    pages = open_pages(path)
    start: dict[str, Any] = {
        "sample_name": description.sample_name,
        **description.model_dump(include={"instrument", "licence"}, exclude_defaults=True),
        **metadata,
        "plan_name": "import",
        "scan_type": description.kind,
        "imported": {**origin(path.name, "TIFF", False), "measured": description.measured, "notes": description.notes},
    }
    if isinstance(description, VolumeSidecar):
        return _import_volume(pages, description, layout, start, progress)
    return _import_frames(pages, description, layout, start, progress)


def open_pages(path: Path) -> TiffPages:
    """Return the pages of a TIFF or a folder of TIFFs. Raises ValueError for a damaged file, and for unequal pages."""
    tifffile = library("tifffile")
    found: list[tuple[Path, int]] = []
    shapes: dict[tuple[Any, ...], Path] = {}
    for file in _slices(path) if path.is_dir() else [path]:
        try:
            with _collect_logged_errors() as errors, tifffile.TiffFile(file) as tiff:
                page_types = {(page.shape, str(page.dtype)) for page in tiff.pages}
                count = len(tiff.pages)
        except Exception as error:  # tifffile raises many types of error
            raise ValueError(f"{file}: is not a TIFF, or is damaged ({_one_line(error)})") from error
        if errors:
            raise ValueError(f"{file}: is a damaged TIFF ({errors[0]}); is the file whole?")
        found += [(file, page) for page in range(count)]
        shapes |= {one: file for one in page_types if one not in shapes}
    if len(shapes) != 1:
        raise ValueError(f"{path}: needs pages of one size and type, got {', '.join(map(str, shapes)) or 'none'}")
    ((shape, dtype),) = shapes
    if len(shape) != 2 or np.dtype(dtype).kind not in "uif":
        raise ValueError(f"{path}: needs grey pages (row, column) of numbers, got {dtype} {shape}")
    return TiffPages(found, shape, np.dtype(dtype))


def _import_volume(
    pages: TiffPages, description: VolumeSidecar, layout: Layout, start: dict[str, Any], progress: Progress
) -> str:
    import dask.array

    depth = len(pages)
    if min(depth, *pages.shape) < 4:
        raise ValueError(f"{pages.files[0][0]}: a volume needs 4 voxels along each axis, got {(depth, *pages.shape)}")
    rows = max(1, SLAB_BYTES // (4 * int(np.prod(pages.shape))))
    chunks = tuple(min(rows, depth - begin) for begin in range(0, depth, rows))

    def slab(block_info: Any = None) -> NDArray[np.float32]:
        begin, end = block_info[None]["array-location"][0]
        progress("volume", end / depth)
        return (description.slope * pages.read(begin, end) + description.intercept).astype(np.float32)

    volume = dask.array.map_blocks(
        slab, chunks=(chunks, (pages.shape[0],), (pages.shape[1],)), dtype=np.float32, meta=np.empty((0, 0, 0), "f4")
    )
    uid = str(uuid.uuid4())
    about = {
        "units": description.units,
        "axes": ["z", "y", "x"],
        "voxel_um": description.voxel_um,
        "imported": start["imported"],
    }
    try:
        results.save(layout.root, uid, "volume", {"volume": volume}, about)
        return record_whole(layout.root, stack_documents(uid, {**start, "voxel_um": description.voxel_um}, "", None))
    except BaseException:
        all_results = open_results(layout.root)
        if uid in all_results:
            all_results[uid].delete(recursive=True, external_only=False)
        raise


def _import_frames(
    pages: TiffPages, description: SeSidecar | SimsSidecar, layout: Layout, start: dict[str, Any], progress: Progress
) -> str:
    facts = description.model_dump(exclude_none=True, exclude={*SidecarBase.model_fields, "kind"}, mode="json")
    channels = len(description.channels) if isinstance(description, SimsSidecar) else 1
    if len(pages) % channels:
        raise ValueError(
            f"{pages.files[0][0]}: {len(pages)} pages cannot be divided into frames of {channels} channels"
        )
    count = len(pages) // channels
    start |= {**facts, "shape": list(pages.shape), "num_points": count, "frames": count}
    key, shape = "se_image", pages.shape
    if isinstance(description, SimsSidecar):
        key, shape = "sector_counts", (channels, *pages.shape)  # type: ignore[assignment]
    with FrameFiles(layout) as files:
        with files.write("primary", shape, pages.dtype) as writer:
            for frame in range(count):
                counts = pages.read(frame * channels, (frame + 1) * channels)
                if isinstance(description, SimsSidecar) and (counts < 0).any():
                    raise ValueError(
                        f"{pages.files[frame * channels][0]}: frame {frame} has negative numbers; counts are needed"
                    )
                writer.append(counts.reshape(shape))
                progress("frames", (frame + 1) / count)
        uid = record_whole(layout.root, stack_documents(str(uuid.uuid4()), start, key, writer))
        files.keep()
    return uid


def _slices(folder: Path) -> list[Path]:
    """Return the TIFFs of a folder in the order of the numbers in their names."""

    def by_number(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]

    return sorted((path for path in folder.iterdir() if path.suffix.lower() in ENDINGS), key=by_number)


@contextmanager
def _collect_logged_errors() -> Iterator[list[str]]:
    """Collect the errors that tifffile logs, because it skips damaged pages without raising."""
    messages: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
