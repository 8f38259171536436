"""SART against itk-rtk on the same exact projections, both as whole pipelines in one run; ratios are printed.

python -m benchmarks.recon_sart            # B1: 180 views of 128 x 128 into 128^3
python -m benchmarks.recon_sart B2 --sweeps 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import recon
from benchmarks.recon_phantom import CASES, exact_projections, random_spheres, rms_error, scan_geometry, truth
from xrm_sims.geometry import ConeGeometry

RELAXATION = 0.3

Images = np.ndarray[Any, np.dtype[np.float32]]


def peer(p: Images, geometry: ConeGeometry, sweeps: int) -> Images:
    """Volume (z, y, x) in 1/um from RTK's SART: Joseph forward, voxel-driven back projection, one view per subset."""
    import itk
    from itk import RTK as rtk  # noqa: N811

    volume_type = itk.Image[itk.F, 3]
    scan = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in geometry.angles_deg:  # its source turns about y: ours stands at pi - angle with columns mirrored
        scan.AddProjection(geometry.source_object_mm, geometry.source_detector_mm, 180.0 - float(angle))
    pixel, voxel = geometry.pixel_mm, 1e-3 * geometry.voxel_um
    (rows, columns), (nz, ny, nx) = geometry.detector_shape, geometry.volume_shape
    images = itk.image_from_array(np.ascontiguousarray(p[:, :, ::-1]))
    images.SetSpacing((pixel, pixel, 1.0))
    images.SetOrigin((-(columns - 1) / 2 * pixel, -(rows - 1) / 2 * pixel, 0.0))
    start = itk.image_from_array(np.zeros((nx, nz, ny), np.float32))
    start.SetSpacing((voxel, voxel, voxel))
    start.SetOrigin((-(ny - 1) / 2 * voxel, -(nz - 1) / 2 * voxel, -(nx - 1) / 2 * voxel))
    sart = rtk.SARTConeBeamReconstructionFilter[volume_type, volume_type].New()
    sart.SetNumberOfProjectionsPerSubset(1)
    sart.SetLambda(RELAXATION)
    sart.SetNumberOfIterations(sweeps)
    sart.SetEnforcePositivity(True)
    sart.SetInput(0, start)
    sart.SetInput(1, images)
    sart.SetGeometry(scan)
    sart.SetForwardProjectionFilter(sart.ForwardProjectionType_FP_JOSEPH)
    sart.SetBackProjectionFilter(sart.BackProjectionType_BP_VOXELBASED)
    sart.SetDisableDisplacedDetectorFilter(True)
    sart.Update()
    return np.asarray(itk.array_from_image(sart.GetOutput()).transpose(1, 2, 0)) * np.float32(1e-3)


def own(p: Images, geometry: ConeGeometry, sweeps: int) -> Images:
    return recon.sart(p, geometry, sweeps=sweeps, subsets=geometry.num_views, relaxation=RELAXATION, tv=0).volume


def timed(call: Callable[[], Images]) -> tuple[Images, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def run(case: str = "B1", sweeps: int = 1, seed: int = 1) -> dict[str, float]:
    """Ratios of time (peer / own) and of error (own / peer), with what they come from."""
    width, height, views = CASES[case]
    phantom, geometry = random_spheres(width, height, seed), scan_geometry(width, height, views)
    p, reference = exact_projections(phantom, geometry), truth(phantom, geometry.volume_shape)
    _, first = timed(lambda: own(p, geometry, 1))
    _, second = timed(lambda: own(p, geometry, 1))
    volume, seconds = timed(lambda: own(p, geometry, sweeps))
    theirs, peer_seconds = timed(lambda: peer(p, geometry, sweeps))
    error, peer_error = rms_error(volume, reference), rms_error(theirs, reference)
    return {
        "compile_s": max(first - second, 0.0),
        "seconds": seconds,
        "peer_seconds": peer_seconds,
        "speed_ratio": peer_seconds / seconds,
        "rmse": error,
        "peer_rmse": peer_error,
        "error_ratio": error / peer_error,
    }


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("case", nargs="?", choices=CASES, default="B1")
    cli.add_argument("--sweeps", type=int, default=1)
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args()
    found = run(args.case, args.sweeps, args.seed)
    print(f"{args.case}, {args.sweeps} sweep(s), relaxation {RELAXATION}, one view per subset, seed {args.seed}")
    print(f"  recon.sart {found['seconds']:7.2f} s  RMSE {found['rmse']:.3e}  (compiling {found['compile_s']:.1f} s)")
    print(f"  itk-rtk    {found['peer_seconds']:7.2f} s  RMSE {found['peer_rmse']:.3e}")
    print(f"  {found['speed_ratio']:.1f} times as fast, error ratio {found['error_ratio']:.3f}")
