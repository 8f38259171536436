"""Reconstruct a tomography run and keep the volume with it.

A :class:`Job` holds all that the computation needs, so another process can run it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recon
from recon.alignment.outline import round_outline
from recon.frames.documents import documents_of
from recon.kernels.progress import Progress
from recon.quality.edge_resolution import EdgeResolution, edge_resolution
from xrm_sims.app.common.progress import stages
from xrm_sims.correlate.volume.segment import PillarFit
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import parts_of
from xrm_sims.geometry import Geometry, geometry_from_dict

OUTLINE_SLICES = 64  # slices of a volume that are enough to find the pillar's outline


@dataclass(frozen=True)
class CtVolume:
    """A volume (z, y, x) in 1/um, reconstructed here or imported."""

    uid: str
    volume: NDArray[np.float32]
    voxel_um: float


@dataclass(frozen=True)
class Tomogram:
    """A reconstructed run: volume (z, y, x) in 1/um, corrected geometry, time of each view."""

    uid: str
    volume: NDArray[np.float32]
    geometry: Geometry
    residuals: NDArray[np.float64]
    times_s: NDArray[np.float64]
    resolution: EdgeResolution | None

    @property
    def voxel_um(self) -> float:
        return self.geometry.voxel_um


Ct = CtVolume | Tomogram


@dataclass(frozen=True)
class Job:
    """A scan to reconstruct. It needs the frame files, but no catalogue.

    uid : of the first part.
    documents : (name, document) of each part, the first part first.
    geometry : uncorrected, with the wanted voxels; None when the run has none.
    options : for :func:`recon.from_run`; kept with the volume.
    checkpoint : file for the volume after each sweep.
    """

    uid: str
    documents: list[list[tuple[str, dict[str, Any]]]]
    geometry: Geometry | None
    options: dict[str, Any]
    checkpoint: Path | None = None

    @classmethod
    def of(
        cls,
        uid: str,
        data: Path | None,
        *,
        voxel_um: float | None = None,
        checkpoint: Path | None = None,
        **options: Any,
    ) -> Job:
        """Read the documents of a run. Arguments and errors as for :func:`reconstruct_tomogram`."""
        parts = parts_of(find_run(uid, data))
        start = parts[0].start
        geometry = None
        if "geometry" in start:
            grid = {} if voxel_um is None else _grid(start["geometry"], voxel_um)
            geometry = geometry_from_dict(start["geometry"] | grid)
        documents = [[(str(name), dict(doc)) for name, doc in documents_of(part)] for part in parts]
        return cls(start["uid"], documents, geometry, options, checkpoint)

    def check_memory(self, has_bytes: int | None = None) -> str:
        """Return a line with the largest memory that the job needs (the specimen's support may need less).

        ``has_bytes`` is the memory of a worker; None: this machine's. Raises ValueError when it is too small.
        """
        if self.geometry is None:
            return "the memory needed is unknown: the run has no geometry"
        geometry = self.geometry
        projections = 6 * geometry.num_views * math.prod(geometry.detector_shape)  # float32, half precision for trust
        needed_gb = (recon.memory_needed(geometry) + projections) / 1e9
        here = "this machine" if has_bytes is None else "the worker"
        has_gb = (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if has_bytes is None else has_bytes) / 1e9
        if needed_gb > has_gb:
            raise ValueError(
                f"the reconstruction takes up to {needed_gb:.1f} GB of memory and {here} has {has_gb:.1f} GB; "
                f"choose larger voxels than {geometry.voxel_um:g} um (--voxel-um)"
            )
        return f"takes up to {needed_gb:.2g} GB of memory; {here} has {has_gb:.0f} GB"

    def run(self, progress: Progress) -> Tomogram:
        """Read the frames and reconstruct. ValueError for frames or options that cannot be used."""
        grid = {} if self.geometry is None else {n: getattr(self.geometry, n) for n in ("voxel_um", "volume_shape")}
        done = recon.from_run(self.documents, progress=progress, checkpoint=self.checkpoint, **grid, **self.options)
        resolution = edge_of(done.volume, done.geometry.voxel_um)
        return Tomogram(self.uid, done.volume, done.geometry, done.residuals, done.times_s, resolution)

    def run_here(self, announce: Callable[[str], object] = lambda line: None) -> Tomogram:
        """Check the memory of this machine and :meth:`run` with progress bars; ``announce`` gets the memory needed."""
        announce(self.check_memory())
        with stages() as progress:
            return self.run(progress)


def reconstruct_tomogram(
    uid: str,
    data: Path | None,
    *,
    voxel_um: float | None = None,
    checkpoint: Path | None = None,
    **options: Any,
) -> Tomogram:
    """Reconstruct a run and keep volume and drift at ``/results/<uid of the first part>``.

    ``voxel_um`` changes the size of the voxels, not the field. ``checkpoint`` is a file for the volume after each
    sweep. ``options`` are for :func:`recon.from_run`. Raises ValueError for an unknown run, for one that is no
    tomography, for a frame file that is missing or truncated, and when this machine has too little memory.
    """
    tomogram = Job.of(uid, data, voxel_um=voxel_um, checkpoint=checkpoint, **options).run_here()
    keep(tomogram, data, options)
    return tomogram


def kept_volume(uid: str, data: Path | None) -> CtVolume:
    """Load the volume of a run, reconstructed here or imported. ValueError when there is none."""
    kept = _load(uid, data)
    return CtVolume(uid, kept.arrays["volume"], float(kept.metadata["voxel_um"]))


def kept_tomogram(uid: str, data: Path | None) -> Tomogram:
    """Load the reconstruction of a run, without its edge resolution. ValueError when there is none."""
    kept = _load(uid, data)
    volume, geometry = kept.arrays["volume"], geometry_from_dict(kept.metadata["geometry"])
    residuals = np.asarray(kept.metadata["residuals"], dtype=np.float64)
    times_s = np.full(geometry.num_views, np.nan)
    if geometry.view_shifts_px is not None:
        times_s = results.load(data, uid, "drift").arrays["times_s"]
    return Tomogram(uid, volume, geometry, residuals, times_s, None)


def _load(uid: str, data: Path | None) -> results.Result:
    try:
        return results.load(data, uid, "volume")
    except ValueError as error:
        raise ValueError(f"{error}; run xrm-sims reconstruct {uid[:8]}") from None


def _grid(built: Mapping[str, Any], voxel_um: float) -> dict[str, Any]:
    """Return voxel size and volume shape for the same field in voxels of another size."""
    if not (math.isfinite(voxel_um) and voxel_um > 0):
        raise ValueError(f"voxel_um: needs a positive length, got {voxel_um}")
    shape = tuple(max(1, round(n * built["voxel_um"] / voxel_um)) for n in built["volume_shape"])
    return {"voxel_um": voxel_um, "volume_shape": shape}


def keep(tomogram: Tomogram, data: Path | None, options: dict[str, Any]) -> None:
    """Keep volume and per-view shifts as results of the run."""
    parameters = {"geometry": tomogram.geometry.as_dict(), "residuals": tomogram.residuals.tolist(), **options}
    if tomogram.resolution is not None:
        parameters["edge_resolution"] = tomogram.resolution.as_dict()
    results.save(
        data,
        tomogram.uid,
        "volume",
        {"volume": tomogram.volume},
        {"units": "1/um", "axes": ["z", "y", "x"], "voxel_um": tomogram.voxel_um, **parameters},
    )
    keep_drift(tomogram.uid, data, tomogram.geometry, tomogram.times_s)


def keep_drift(uid: str, data: Path | None, geometry: Geometry, times_s: NDArray[np.float64]) -> None:
    """Keep the correction as the run's result ``drift``; do nothing for an uncorrected geometry."""
    import pandas

    if geometry.view_shifts_px is None:
        return
    arrays = {"view_shifts_px": geometry.view_shifts_px, "angles_deg": geometry.angles_deg, "times_s": times_s}
    if geometry.view_scale is not None:
        arrays["view_scale"] = geometry.view_scale
    about = {
        "axes": ["view", "row, column"],
        "units": "px",
        "axis_offset_um": geometry.axis_offset_um,
        "detector_roll_deg": geometry.detector_roll_deg,
        "geometry": geometry.as_dict(),
    }
    row_px, column_px = geometry.view_shifts_px.T
    curve = {"angle_deg": geometry.angles_deg, "time_s": times_s, "row_px": row_px, "column_px": column_px}
    results.save(data, uid, "drift", arrays, about, tables={"curve": pandas.DataFrame(curve)})


def edge_of(volume: NDArray[np.float32], voxel_um: float) -> EdgeResolution | None:
    """Return the resolution at the pillar's edge; None when no free, round, solid edge is in the field."""
    try:
        return edge_resolution(volume, voxel_um)
    except ValueError:
        return None


def pillar_of(volume: NDArray[np.float32], voxel_um: float) -> PillarFit | None:
    """Return outline and top of the round pillar in a volume (z, y, x); None when there is none."""
    try:
        circle = round_outline(volume[:: max(1, len(volume) // OUTLINE_SLICES)])
    except ValueError:
        return None
    row, column, half = round(circle.row), round(circle.column), round(0.7 * circle.radius)
    levels = volume[:, row - half : row + half, column - half : column + half].mean(axis=(1, 2))
    highest = int(np.flatnonzero(levels > 0.5 * np.median(levels))[-1])
    top_um = (highest + 1 - 0.5 * len(levels)) * voxel_um
    return PillarFit(circle.axis_um(volume.shape, voxel_um), circle.radius * voxel_um, top_um)
