"""Volumes, maps and images for image formats: read lazily, with axes, sizes, channels and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import as_catalog, parts_of, results_beside
from xrm_sims.data.stored import RASTER_KEY, stored_frames, stored_raster
from xrm_sims.exchange.provenance import Provenance, provenance_of_runs
from xrm_sims.scan_type import ScanType

IMAGES = {  # data key and title
    ScanType.SIMS_RASTER: (RASTER_KEY, "SIMS maps"),
    ScanType.SE_IMAGE: ("se_image", "SE image"),
    ScanType.EDS_MAP: ("eds_counts", "EDS maps"),
}
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Channel:
    """``label`` is an isotope such as "7Li", or an element; ``mass_u`` is the selected mass, if any."""

    label: str
    mass_u: float | None = None

    @property
    def name_and_mass(self) -> str:
        return self.label if self.mass_u is None else f"{self.label} ({self.mass_u:.4f} u)"


@dataclass(frozen=True, eq=False)
class Image:
    """An array that is read in slices along its first axis.

    data : anything with shape, dtype and ``data[start:stop]``.
    axes : one letter per dimension: t frame, c channel, z y x.
    pixel_um : edge of a pixel or voxel, the same along z, y and x.
    centre_um : centre of the field along x and y (and z, for a volume), in the frame of its scan or specimen.
    labels : arrays of whole numbers over the spatial axes, by name.
    """

    data: Any
    axes: str
    pixel_um: float
    units: str
    provenance: Provenance
    channels: tuple[Channel, ...] = ()
    centre_um: tuple[float, ...] = (0.0, 0.0, 0.0)
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.data.dtype)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield slices along the first axis with their numbers, a few megabytes at a time."""
        rows = max(1, BLOCK_BYTES // max(1, self.nbytes // self.shape[0]))
        for start in range(0, self.shape[0], rows):
            place = slice(start, min(start + rows, self.shape[0]))
            yield place, np.asarray(self.data[place])


def read_image(uid: str, data: Any = None, licence: str | None = None) -> Image:
    """Return the volume of a tomography (or an imported one), or the counts of a raster, an SE image or an EDS map.

    Raises ValueError when there is no such run, or when it holds no image.
    """
    run = find_run(uid, data)
    start = run.metadata["start"]
    kind = start.get("scan_type", "")
    first = start.get("resumes_uid", start["uid"])
    catalog = as_catalog(data)
    all_results = results_beside(catalog)
    if kind in IMAGES:
        return _measured(run, data, all_results.get(first, {}), licence)
    if first not in all_results or "volume" not in all_results[first]:
        tomography = kind == ScanType.TOMOGRAPHY
        advice = f"run xrm-sims reconstruct {first[:8]}" if tomography else "export needs a volume or an image"
        raise ValueError(f"run {first} ({kind or 'run of unknown type'}) has no volume; {advice}")
    result = results.find(catalog, first, "volume")
    volume, about = result["volume"], dict(result.metadata)
    return Image(
        data=volume,
        axes="zyx",
        pixel_um=float(about["voxel_um"]),
        units=str(about.get("units", "")),
        provenance=provenance_of_runs([catalog[first].metadata["start"]], "CT volume", licence),
        labels=_labels(all_results[first], tuple(volume.shape)),
    )


def _measured(run: Any, data: Any, of_run: Any, licence: str | None) -> Image:
    uid, kind = run.metadata["start"]["uid"], run.metadata["start"]["scan_type"]
    key, title = IMAGES[kind]
    frames, start = stored_raster(uid, data) if kind == ScanType.SIMS_RASTER else stored_frames(uid, key, data)
    rows, columns = frames.shape[-2:]
    if "channels" in start:
        channels = tuple(Channel(str(one["label"]), one.get("mass_u")) for one in start["channels"])
    else:
        channels = tuple(Channel(str(name)) for name in start.get("elements", ()))
    return Image(
        data=frames,
        axes="tcyx" if len(frames.shape) == 4 else "tyx",
        pixel_um=float(start["fov_um"]) / columns,
        units="counts",
        provenance=provenance_of_runs([part.start for part in parts_of(run)], title, licence),
        channels=channels,
        centre_um=tuple(start.get("centre_um", (0.0, 0.0))),
        labels=_labels(of_run, (rows, columns)),
    )


def _labels(of_run: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return integer arrays of the image's shape among the results of a run: phases, particles."""
    found = {}
    for kind, result in of_run.items():
        for name, part in result.items() if result.metadata.get("complete") else ():
            if part.structure_family == "array" and part.shape == shape and np.dtype(part.dtype).kind in "uib":
                found[name if name not in found else f"{kind}-{name}"] = part
    return found
