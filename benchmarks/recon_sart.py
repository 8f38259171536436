"""SART against itk-rtk on the same exact projections, both as whole pipelines in one run; ratios are printed.

python -m benchmarks.recon_sart            # B1: 180 views of 128 x 128 into 128^3
python -m benchmarks.recon_sart B2 --sweeps 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import recon
from benchmarks.recon_phantom import CASES, exact_projections, random_spheres, rms_error, scan_geometry, truth
from benchmarks.rtk import RELAXATION, Images, peer
from xrm_sims.geometry import ConeGeometry


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
