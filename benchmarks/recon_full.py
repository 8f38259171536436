"""Full size: 1,200 views of 256 x 1280 into 256 x 1280 x 1280; time of a sweep and resident memory on this machine.

The time of a sweep is extrapolated from a few subsets; the memory includes all 1,200 views and the whole volume.

python -m benchmarks.recon_full            # with the support of a 40 um pillar, and without
python -m benchmarks.recon_full --views 60 --radius-um 21
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np

import recon
from benchmarks import child
from recon.algorithms.sart import default_subsets, subset_order
from xrm_sims.geometry import ConeGeometry, scan_angles

VIEWS, ROWS, COLUMNS, VOXEL_UM = 1200, 256, 1280, 0.05
PILLAR_UM = 21.0  # radius of the support of a 40 um pillar, with a margin


def full_geometry() -> ConeGeometry:
    return ConeGeometry(
        source_object_mm=0.4,
        source_detector_mm=440.0,
        pixel_mm=0.055,
        detector_shape=(ROWS, COLUMNS),
        angles_deg=scan_angles(VIEWS, 360 / VIEWS),
        volume_shape=(ROWS, COLUMNS, COLUMNS),
        voxel_um=VOXEL_UM,
    )


def measure(views: int, radius_um: float | None) -> dict[str, float]:
    """Return seconds of a sweep (from ``views`` of its views) and of denoising, and resident gigabytes."""
    geometry = full_geometry()
    rng = np.random.default_rng(1)
    p = np.empty((VIEWS, ROWS, COLUMNS), np.float32)
    for view in p:
        view[...] = rng.random((ROWS, COLUMNS), np.float32)
    subsets = default_subsets(geometry)
    order = subset_order(geometry, subsets)
    solver = recon.Solver(geometry, support=radius_um)
    solver.update(p[order[0][:1]], geometry.only(order[0][:1]))  # compiles
    began = time.perf_counter()
    some = order[1 : 1 + views * subsets // VIEWS]
    for chosen in some:
        solver.update(p[chosen], geometry.only(chosen))
    sweep_s = (time.perf_counter() - began) * VIEWS / sum(map(len, some))
    began = time.perf_counter()
    solver.smooth(1.0)
    smooth_s = time.perf_counter() - began
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"sweep_s": sweep_s, "smooth_s": smooth_s, "peak_gb": peak_gb}


def run(views: int = 60, radius_um: float | None = None) -> dict[str, float]:
    """Run :func:`measure` in a process of its own, so that the memory is its own."""
    radius = () if radius_um is None else ("--radius-um", radius_um)
    return dict(child.result(child.start("benchmarks.recon_full", "--one", "--views", views, *radius)))


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--views", type=int, default=60)
    cli.add_argument("--radius-um", type=float, default=None)
    cli.add_argument("--one", action="store_true", help="measure once, in this process, and print JSON")
    args = cli.parse_args()
    if args.one:
        print(json.dumps(measure(args.views, args.radius_um)))
    else:
        for radius_um in (PILLAR_UM, None) if args.radius_um is None else (args.radius_um,):
            found = run(args.views, radius_um)
            about = "no support" if radius_um is None else f"support of {radius_um} um"
            print(
                f"{about}: a sweep {found['sweep_s'] / 60:.1f} min, denoising {found['smooth_s']:.0f} s, "
                f"{found['peak_gb']:.2f} GB resident"
            )
