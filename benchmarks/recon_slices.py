"""One slice: SART against astra-toolbox and scikit-image on the CPU, on the same exact projections in one run.

python -m benchmarks.recon_slices          # parallel and fan, 360 views of 255 pixels into 255 x 255, one sweep each

Every side corrects view by view with relaxation 0.3 from zero. astra-toolbox (GPL-3) is needed by this benchmark alone.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage.transform import iradon_sart

import recon
from benchmarks.recon_phantom import (
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

Images = np.ndarray[Any, np.dtype[np.float32]]


def own(p: Images, geometry: Geometry, sweeps: int) -> Images:
    return recon.sart(p, geometry, sweeps=sweeps, subsets=geometry.num_views, relaxation=RELAXATION, tv=0).volume


def astra_sart(p: Images, geometry: Geometry, sweeps: int) -> Images:
    """Its detector runs along (cos, sin) of its angle, its rows downwards, its fan comes from below at 0 degrees."""
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


def run(sweeps: int = 1, seed: int = 1) -> dict[str, float]:
    """Seconds and errors of each side, ``parallel_*`` and ``fan_*``; ratios are peer / own."""
    phantom = random_spheres(WIDTH, WIDTH, seed)
    reference = truth(phantom, (1, WIDTH, WIDTH))
    results: dict[str, float] = {}
    for beam, geometry in (
        ("parallel", parallel_geometry(WIDTH, 1, VIEWS)),
        ("fan", scan_geometry(WIDTH, 1, VIEWS)),
    ):
        p = exact_projections(phantom, geometry)
        own(p, geometry, 1)  # compiles
        sides: dict[str, Callable[[Images, Geometry, int], Images]] = {"own": own, "astra": astra_sart}
        if beam == "parallel":
            sides["skimage"] = skimage_sart
        for name, call in sides.items():
            began = time.perf_counter()
            volume = call(p, geometry, sweeps)
            results[f"{beam}_{name}_s"] = time.perf_counter() - began
            results[f"{beam}_{name}_rmse"] = rms_error(volume, reference)
            if name != "own":
                results[f"{beam}_{name}_ratio"] = results[f"{beam}_{name}_s"] / results[f"{beam}_own_s"]
    return results


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--sweeps", type=int, default=1)
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args()
    for key, value in run(args.sweeps, args.seed).items():
        print(f"{key:28} {value:.4g}")
