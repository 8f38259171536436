"""Slices: SART against astra-toolbox and scikit-image on the CPU, on the same exact projections in one run.

python -m benchmarks.recon_slices          # parallel and fan, 360 views of 255 pixels into 255 x 255, one sweep each

The peers reconstruct one slice after another. The kernels here run along z and need the same time for 16 slices as for
one, so a single slice is their worst case; a stack of 32 is also measured, per slice. All correct view by view with
relaxation 0.3 from zero. Only this benchmark needs astra-toolbox (GPL-3).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from skimage.transform import iradon_sart

import recon
from benchmarks.recon_phantom import (
    Images,
    exact_projections,
    parallel_geometry,
    random_spheres,
    rms_error,
    scan_geometry,
    truth,
)
from xrm_sims.geometry import Geometry, ParallelGeometry

WIDTH, VIEWS = 255, 360  # odd, so that the middle of the slice is a pixel for all
RELAXATION = 0.3
STACK = 32

Run = tuple[float, float]


def own(p: Images, geometry: Geometry, sweeps: int) -> Images:
    return recon.sart(p, geometry, sweeps=sweeps, subsets=geometry.num_views, relaxation=RELAXATION, tv=0).volume


def astra_sart(p: Images, geometry: Geometry, sweeps: int) -> Images:
    """Run astra's SART: detector along (cos, sin) of the angle, rows downwards, fan from below at 0 degrees."""
    import astra

    (_, columns), (_, ny, nx) = geometry.detector_shape, geometry.volume_shape
    angles = np.radians(90.0 - geometry.angles_deg)
    pixel = 1e3 * geometry.pixel_mm / geometry.voxel_um
    if isinstance(geometry, ParallelGeometry):
        scan, kind, sinogram = astra.create_proj_geom("parallel", pixel, columns, angles), "linear", p[:, 0]
    else:
        near = 1e3 * geometry.source_object_mm / geometry.voxel_um
        far = 1e3 * geometry.source_detector_mm / geometry.voxel_um - near
        scan, kind = astra.create_proj_geom("fanflat", pixel, columns, angles + math.pi, near, far), "line_fanflat"
        sinogram = p[:, 0, ::-1]
    grid = astra.create_vol_geom(ny, nx)
    ids = [astra.data2d.create("-sino", scan, np.ascontiguousarray(sinogram)), astra.data2d.create("-vol", grid, 0.0)]
    projector = astra.create_projector(kind, scan, grid)
    setup = astra.astra_dict("SART")
    setup |= {"ProjectionDataId": ids[0], "ReconstructionDataId": ids[1], "ProjectorId": projector}
    setup["option"] = {"Relaxation": RELAXATION, "MinConstraint": 0.0, "ProjectionOrder": "random"}
    algorithm = astra.algorithm.create(setup)
    astra.algorithm.run(algorithm, sweeps * geometry.num_views)
    slices = astra.data2d.get(ids[1])[None, ::-1] / geometry.voxel_um
    astra.algorithm.delete(algorithm)
    astra.projector.delete(projector)
    astra.data2d.delete(ids)
    return np.asarray(slices, np.float32)


def skimage_sart(p: Images, geometry: Geometry, sweeps: int) -> Images:
    found = None
    for _ in range(sweeps):
        found = iradon_sart(
            p[:, 0].T, geometry.angles_deg, image=found, relaxation=RELAXATION, clip=(0, np.inf), dtype=np.float32
        )
    return np.rot90(found, -1)[None] / np.float32(geometry.voxel_um)


def measure(call: Callable[[Images, Geometry, int], Images], geometry: Geometry, sweeps: int, seed: int) -> Run:
    """Return seconds per slice and RMSE of the middle slice."""
    phantom, slices = random_spheres(WIDTH, WIDTH, seed), geometry.volume_shape[0]
    p = exact_projections(phantom, geometry)
    began = time.perf_counter()
    volume = call(p, geometry, sweeps)
    seconds = (time.perf_counter() - began) / slices
    reference = truth(phantom, geometry.volume_shape)
    middle = slice(slices // 2, slices // 2 + 1)
    return seconds, rms_error(volume[middle], reference[middle])


def run(sweeps: int = 1, seed: int = 1) -> dict[str, float]:
    """Return ``_s`` per slice, ``_rmse`` and ``_ratio`` (peer / own) for ``parallel``, ``fan`` and a ``stack``."""
    parallel, fan = parallel_geometry(WIDTH, 1, VIEWS), scan_geometry(WIDTH, 1, VIEWS)
    measure(own, parallel_geometry(WIDTH, 1, 8), 1, seed)  # compiles
    found = {
        "parallel_own": measure(own, parallel, sweeps, seed),
        "parallel_astra": measure(astra_sart, parallel, sweeps, seed),
        "parallel_skimage": measure(skimage_sart, parallel, sweeps, seed),
        "fan_own": measure(own, fan, sweeps, seed),
        "fan_astra": measure(astra_sart, fan, sweeps, seed),
        "stack_own": measure(own, parallel_geometry(WIDTH, STACK, VIEWS), sweeps, seed),
    }
    for peer in ("astra", "skimage"):
        found[f"stack_{peer}"] = found[f"parallel_{peer}"]  # the peers work slice by slice
    results: dict[str, float] = {}
    for name, (seconds, error) in found.items():
        results |= {f"{name}_s": seconds, f"{name}_rmse": error}
        if not name.endswith("_own"):
            results[f"{name}_ratio"] = seconds / found[name.split("_")[0] + "_own"][0]
    return results


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--sweeps", type=int, default=1)
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args()
    for key, value in run(args.sweeps, args.seed).items():
        print(f"{key:28} {value:.4g}")
