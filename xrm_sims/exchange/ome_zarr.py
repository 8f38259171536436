"""OME-Zarr (OME-NGFF 0.5, Zarr 3): a pyramid of resolutions in chunks, with channels, phases as labels, and units.

Each level is computed from the one before, a slab at a time; for a volume of 1 GB the peak was 0.9 GB above the start.
ome-zarr-py's writer (0.4 GB) is not used because it names the levels ``s0``, ``s1``, which would change our files, and
because it fills odd edges with zeros when it averages and reports no progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.data.scales import halve_mean, halve_pick
from xrm_sims.exchange.images import BLOCK_BYTES, Image
from xrm_sims.exchange.writing import Progress, library

VERSION = "0.5"
COARSEST_PX = 128  # pixels along the longest edge of the coarsest level, at most
CHUNK_ZYX = (32, 256, 256)
COLOURS = ("00FF00", "FF0000", "0000FF", "FFFF00", "FF00FF", "00FFFF")
CONTRAST = (0.1, 99.9)  # percentiles of the initial grey range of a viewer
Report = Callable[[float], None]  # called with the finished share of a pyramid
_AXES = {"t": {"name": "t", "type": "time"}, "c": {"name": "c", "type": "channel"}} | {
    axis: {"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"
}


def write_ome_zarr(image: Image, path: Path, progress: Progress) -> None:
    """Write an image as a pyramid, and each of its label arrays as a pyramid below ``labels``."""
    with _wait_for_all_chunks():
        _write(image, library("zarr").create_group(path, zarr_format=3), progress)


@contextmanager
def _wait_for_all_chunks() -> Iterator[None]:
    """Wait for all chunks at the end of the block: Zarr writes chunks concurrently and raises the first error, or
    Ctrl-C, while other chunks are still being written."""
    try:
        yield
    finally:
        library("zarr.core.sync").sync(_finish_other_tasks())


async def _finish_other_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


def _write(image: Image, root: Any, progress: Progress) -> None:

    def report(pyramid: int, share: float) -> None:
        progress("OME-Zarr", (pyramid + share) / (1 + len(image.labels)))

    coarsest = _write_pyramid(root, image.data, image.axes, image.dtype, halve_mean, partial(report, 0))
    levels = _levels(image.shape, image.axes)
    root.attrs["ome"] = {
        "version": VERSION,
        "multiscales": [_multiscales(image, image.axes, levels, image.provenance.title, "mean")],
        "omero": _omero(image, coarsest),
    }
    root.attrs["xrm_sims"] = {
        **image.provenance.as_dict(),
        "units": image.units,
        "channels": [{"label": one.label, "mass_u": one.mass_u} for one in image.channels],
    }
    if image.labels:
        group = root.create_group("labels")
        group.attrs["ome"] = {"version": VERSION, "labels": list(image.labels)}
        axes = "".join(axis for axis in image.axes if axis in "zyx")
        for number, (name, array) in enumerate(image.labels.items(), 1):
            _write_label(group.create_group(name), name, array, axes, image, partial(report, number))


def _write_label(group: Any, name: str, array: Any, axes: str, image: Image, report: Report) -> None:
    dtype = np.dtype(np.uint8) if np.dtype(array.dtype).kind == "b" else np.dtype(array.dtype)
    _write_pyramid(group, array, axes, dtype, halve_pick, report)
    group.attrs["ome"] = {
        "version": VERSION,
        "multiscales": [_multiscales(image, axes, _levels(tuple(array.shape), axes), name, "nearest")],
        "image-label": {"colors": [], "source": {"image": "../../"}},
    }


def _levels(shape: tuple[int, ...], axes: str) -> list[tuple[int, ...]]:
    """Return shapes from fine to coarse: spatial axes are halved while the longest is above ``COARSEST_PX``."""
    levels = [tuple(shape)]
    while max(n for n, axis in zip(levels[-1], axes, strict=True) if axis in "yx") > COARSEST_PX:
        levels.append(tuple(-(-n // f) for n, f in zip(levels[-1], _factors(axes), strict=True)))
    return levels


def _factors(axes: str) -> tuple[int, ...]:
    return tuple(2 if axis in "zyx" else 1 for axis in axes)


def _write_pyramid(
    group: Any, source: Any, axes: str, dtype: np.dtype[Any], halve: Callable[..., NDArray[Any]], report: Report
) -> NDArray[Any]:
    """Write all levels and return the coarsest."""
    levels = _levels(tuple(source.shape), axes)
    factors = _factors(axes)
    total = sum(float(np.prod(shape)) for shape in levels)
    done, above = 0.0, source
    for number, shape in enumerate(levels):
        chunks = tuple(
            min(n, dict(zip("zyx", CHUNK_ZYX, strict=True)).get(axis, 1)) for n, axis in zip(shape, axes, strict=True)
        )
        level = group.create_array(str(number), shape=shape, chunks=chunks, dtype=dtype, dimension_names=list(axes))
        step = 1 if number == 0 else factors[0]
        for place in _slabs(shape, chunks[0], dtype):
            slab = np.asarray(above[place.start * step : place.stop * step])
            level[place] = slab.astype(dtype, copy=False) if number == 0 else halve(slab, factors).astype(dtype)
            done += float(np.prod((place.stop - place.start, *shape[1:])))
            report(done / total)
        above = level
    return np.asarray(above[...])


def _slabs(shape: tuple[int, ...], chunk: int, dtype: np.dtype[Any]) -> Iterator[slice]:
    """Yield slices of whole chunks along the first axis, a few megabytes at a time."""
    layer = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    rows = chunk * max(1, BLOCK_BYTES // max(1, layer * chunk))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def _multiscales(image: Image, axes: str, levels: list[tuple[int, ...]], name: str, method: str) -> dict[str, Any]:
    datasets = []
    for number in range(len(levels)):
        finer = 2**number if method == "mean" else 1  # a mean is centred between its pixels, a label on its own
        scale = [image.pixel_um * 2**number if axis in "zyx" else 1.0 for axis in axes]
        shift = [_first_um(image, axis) + 0.5 * (finer - 1) * image.pixel_um if axis in "zyx" else 0.0 for axis in axes]
        transformations = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    return {"name": name, "axes": [_AXES[axis] for axis in axes], "datasets": datasets, "type": method}


def _first_um(image: Image, axis: str) -> float:
    """Return the centre of the first pixel along an axis."""
    centre = dict(zip("xyz", (*image.centre_um, 0.0), strict=False))[axis]
    return centre - 0.5 * (image.shape[image.axes.index(axis)] - 1) * image.pixel_um


def _omero(image: Image, coarsest: NDArray[Any]) -> dict[str, Any]:
    """Return the initial settings of a viewer: name, colour and contrast of each channel."""
    names = [one.name_and_mass for one in image.channels] or [f"{image.provenance.scan_type} ({image.units})"]
    axis = image.axes.find("c")
    shown = []
    for number, name in enumerate(names):
        values = coarsest if axis < 0 else coarsest.take(number, axis)
        low, high = (float(value) for value in np.percentile(values, CONTRAST))
        window = {"min": float(values.min()), "max": float(values.max()), "start": low, "end": max(high, low + 1e-9)}
        colour = COLOURS[number % len(COLOURS)] if image.channels else "FFFFFF"
        shown.append({"label": name, "color": colour, "active": True, "window": window})
    return {"name": image.provenance.title, "channels": shown}
