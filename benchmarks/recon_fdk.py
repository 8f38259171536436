"""FDK against itk-rtk's, and RTK's conjugate gradient, on the same exact projections as whole pipelines in one run.

python -m benchmarks.recon_fdk             # B1: 180 views of 128 x 128 into 128^3
python -m benchmarks.recon_fdk B2 --iterations 10
"""

from __future__ import annotations

import argparse
import time

import recon
from benchmarks.recon_phantom import CASES, exact_projections, random_spheres, rms_error, scan_geometry, truth
from benchmarks.rtk import peer_cg, peer_fdk


def run(case: str = "B1", seed: int = 1, iterations: int = 0) -> dict[str, float]:
    """Seconds and errors; ratios are peer / own in time and own / peer in error; conjugate gradient when asked for."""
    width, height, views = CASES[case]
    phantom, geometry = random_spheres(width, height, seed), scan_geometry(width, height, views)
    p, reference = exact_projections(phantom, geometry), truth(phantom, geometry.volume_shape)
    calls = {"compile": recon.fdk, "own": recon.fdk, "rtk": peer_fdk}
    if iterations:
        calls["rtk_cg"] = lambda p, geometry: peer_cg(p, geometry, iterations)
    results: dict[str, float] = {}
    for name, call in calls.items():
        began = time.perf_counter()
        volume = call(p, geometry)
        results[f"{name}_s"] = time.perf_counter() - began
        results[f"{name}_rmse"] = rms_error(volume, reference)
    results["compile_s"] -= results["own_s"]
    del results["compile_rmse"]
    results["speed_ratio"] = results["rtk_s"] / results["own_s"]
    results["error_ratio"] = results["own_rmse"] / results["rtk_rmse"]
    return results


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("case", nargs="?", choices=CASES, default="B1")
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--iterations", type=int, default=0, help="of RTK's conjugate gradient")
    args = cli.parse_args()
    for key, value in run(args.case, args.seed, args.iterations).items():
        print(f"{key:14} {value:.4g}")
