"""From the uid of a tomography run to a volume that is kept beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recon
from recon.resolution import EdgeResolution, edge_resolution
from xrm_sims.app.progress import stages
from xrm_sims.data import find_run, open_catalog, results
from xrm_sims.geometry import ConeGeometry


@dataclass(frozen=True)
class Tomogram:
    """A reconstructed run: volume (z, y, x) in 1/um, the corrected geometry, when each view was taken."""

    uid: str
    volume: NDArray[np.float32]
    geometry: ConeGeometry
    residuals: NDArray[np.float64]
    times_s: NDArray[np.float64]
    resolution: EdgeResolution | None

    @property
    def voxel_um(self) -> float:
        return self.geometry.voxel_um


def reconstruct_tomogram(uid: str, data: Path | None, **options: Any) -> Tomogram:
    """Reconstruct from databroker's documents and keep volume and drift at ``/results/<uid>``.

    Raises ValueError for a run that is not there, is no tomogram, or has a frame file that is missing or cut off.
    """
    full_uid = find_run(uid, data).metadata["start"]["uid"]
    with stages() as progress:
        done = recon.from_run(open_catalog(data).v1[full_uid], progress=progress, **options)
    tomogram = Tomogram(full_uid, done.volume, done.geometry, done.residuals, done.times_s, _resolution(done))
    keep(tomogram, data, options)
    return tomogram


def keep(tomogram: Tomogram, data: Path | None, options: dict[str, Any]) -> None:
    """Volume and per-view shifts as results of the run."""
    parameters = {"geometry": tomogram.geometry.as_dict(), "residuals": tomogram.residuals.tolist(), **options}
    if tomogram.resolution is not None:
        parameters["edge_resolution"] = vars(tomogram.resolution)
    results.save(
        data,
        tomogram.uid,
        "volume",
        {"volume": tomogram.volume},
        {"units": "1/um", "axes": ["z", "y", "x"], "voxel_um": tomogram.voxel_um, **parameters},
    )
    shifts = tomogram.geometry.view_shifts_px
    if shifts is not None:
        results.save(
            data,
            tomogram.uid,
            "drift",
            {"view_shifts_px": shifts, "angles_deg": tomogram.geometry.angles_deg},
            {"axes": ["view", "row, column"], "units": "px"},
        )


def _resolution(done: recon.Reconstruction) -> EdgeResolution | None:
    try:
        return edge_resolution(done.volume, done.geometry.voxel_um)
    except ValueError:  # no round, solid edge in the field: a figure would be a guess
        return None


def reconstruct_run(uid: str, *, data: Path | None, sweeps: int, out: Path | None) -> Tomogram:
    """The command: reconstruct, say what came out, draw slices."""
    tomogram = reconstruct_tomogram(uid, data, sweeps=sweeps)
    print(tomogram.geometry)
    print(f"residual per sweep: {', '.join(f'{r:.4f}' for r in tomogram.residuals)} (line integral, rms)")
    if tomogram.resolution is not None:
        print(f"edge resolution: {tomogram.resolution}")
    if out is not None:
        from xrm_sims.app.pictures import draw_tomogram

        for path in draw_tomogram(tomogram, out):
            print(path)
    print(f"volume kept at /results/{tomogram.uid}/volume")
    return tomogram
