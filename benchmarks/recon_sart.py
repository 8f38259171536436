"""SART and FDK against itk-rtk on the same exact projections, both as whole pipelines in one run; ratios are printed.

python -m benchmarks.recon_sart            # B1: 180 views of 128 x 128 into 128^3, one sweep at equal settings
python -m benchmarks.recon_sart B2 --sweeps 3
python -m benchmarks.recon_sart B1 --to-error --noisy
python -m benchmarks.recon_sart B2 --fdk
python -m benchmarks.recon_sart --projectors
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import recon
from benchmarks.recon_phantom import CASES, Images, exact_projections, random_spheres, rms_error, scan_geometry, truth
from xrm_sims.geometry import ConeGeometry

COUNTS = 1453.0  # open beam of a pixel in 90 s
RUNS = 5
PEER_SWEEPS = 3  # noise-free target: what the peer's SART reaches then
PROJECTOR_SIZES = {"B2": (256, 64, 360), "512 x 512 x 256": (512, 256, 48)}  # width, height, views


def own(p: Images, geometry: ConeGeometry, sweeps: int, relaxation: float) -> Images:
    return recon.sart(p, geometry, sweeps=sweeps, subsets=geometry.num_views, relaxation=relaxation, tv=0).volume


def timed(call: Callable[[], Images]) -> tuple[Images, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def typical(call: Callable[[], Images]) -> tuple[Images, float]:
    """Return the run of median time, because other processes can disturb a run of a second or less."""
    runs = sorted((timed(call) for _ in range(RUNS)), key=lambda run: run[1])
    return runs[RUNS // 2]


def compiled(call: Callable[[], Images]) -> float:
    """Return the seconds of compilation: first call minus second call."""
    return max(timed(call)[1] - timed(call)[1], 0.0)


def scan(case: str, seed: int, counts: float | None = None) -> tuple[Images, ConeGeometry, Images]:
    """Return projections (with the noise of ``counts`` in the open beam, or none), geometry and truth."""
    width, height, views = CASES[case]
    phantom, geometry = random_spheres(width, height, seed), scan_geometry(width, height, views)
    p, reference = exact_projections(phantom, geometry), truth(phantom, geometry.volume_shape)
    if counts is not None:
        drawn = np.random.default_rng(seed).poisson(counts * np.exp(-p.astype(float)))
        p = np.log(counts / np.maximum(drawn, 0.5)).astype(np.float32)
    return p, geometry, reference


def load_peer() -> None:
    """ITK loads its libraries at the first use of each filter: not what a reconstruction takes."""
    from benchmarks.rtk import peer, peer_cg, peer_fdk

    small = scan_geometry(16, 16, 8)
    p = np.ones((8, 16, 16), np.float32)
    for call in (peer_fdk, lambda p, g: peer(p, g, 1), lambda p, g: peer_cg(p, g, 1)):
        call(p, small)


def run(case: str = "B1", sweeps: int = 1, seed: int = 1) -> dict[str, float]:
    """Compare plain SART at equal settings; return times, errors, their ratios (time peer / own, error own / peer)."""
    from benchmarks.rtk import RELAXATION, peer

    load_peer()
    p, geometry, reference = scan(case, seed)
    compile_s = compiled(lambda: own(p, geometry, 1, RELAXATION))
    volume, seconds = typical(lambda: own(p, geometry, sweeps, RELAXATION))
    theirs, peer_seconds = timed(lambda: peer(p, geometry, sweeps))
    return {"compile_s": compile_s} | _ratios(
        seconds, rms_error(volume, reference), peer_seconds, rms_error(theirs, reference)
    )


def time_to_error(case: str = "B1", noisy: bool = False, seed: int = 1) -> dict[str, float | str]:
    """Compare the default arguments with the peer's best; see :func:`run` for the numbers.

    Without noise the peer is RTK's three-sweep SART; with noise it is RTK's FDK, SART or conjugate gradient at any
    number of sweeps or iterations, whichever has the lowest error.
    """
    from benchmarks.rtk import peer, peer_cg, peer_fdk

    load_peer()
    p, geometry, reference = scan(case, seed, COUNTS if noisy else None)
    compile_s = compiled(lambda: recon.sart(p, geometry).volume)
    volume, seconds = typical(lambda: recon.sart(p, geometry).volume)

    def tried(name: str, call: Callable[[], Images]) -> tuple[float, float, str]:
        theirs, taken = timed(call)
        return rms_error(theirs, reference), taken, name

    if noisy:
        found = [tried("FDK", lambda: peer_fdk(p, geometry))]
        for label, call, numbers in (("SART", peer, (1, 2, 3, 5)), ("CG", peer_cg, (3, 6, 12))):
            before = np.inf
            for number in numbers:  # semi-convergence: the error falls, then noise increases it
                found.append(tried(f"{label} {number}", lambda call=call, n=number: call(p, geometry, n)))  # type: ignore[misc]
                if found[-1][0] > before:
                    break
                before = found[-1][0]
    else:
        found = [tried(f"SART {PEER_SWEEPS}", lambda: peer(p, geometry, PEER_SWEEPS))]
    peer_error, peer_seconds, name = min(found)
    ratios = _ratios(seconds, rms_error(volume, reference), peer_seconds, peer_error)
    return {"compile_s": compile_s, "peer": name, **ratios}


def filtered(case: str = "B1", seed: int = 1) -> dict[str, float]:
    """Compare filtered back projections with a plain ramp; see :func:`run` for the numbers."""
    from benchmarks.rtk import peer_fdk

    load_peer()
    p, geometry, reference = scan(case, seed)
    compile_s = compiled(lambda: recon.fdk(p, geometry))
    volume, seconds = typical(lambda: recon.fdk(p, geometry))
    theirs, peer_seconds = timed(lambda: peer_fdk(p, geometry))
    return {"compile_s": compile_s} | _ratios(
        seconds, rms_error(volume, reference), peer_seconds, rms_error(theirs, reference)
    )


def _ratios(seconds: float, error: float, peer_seconds: float, peer_error: float) -> dict[str, float]:
    return {
        "seconds": seconds,
        "peer_seconds": peer_seconds,
        "speed_ratio": peer_seconds / seconds,
        "rmse": error,
        "peer_rmse": peer_error,
        "error_ratio": error / peer_error,
    }


def projectors(repeats: int = 3) -> dict[str, dict[str, float]]:
    """Return 1e9 voxel views per second of project and backproject, best of ``repeats`` calls, for each size."""
    rates: dict[str, dict[str, float]] = {}
    for name, (width, height, views) in PROJECTOR_SIZES.items():
        geometry = scan_geometry(width, height, views)
        volume = np.random.default_rng(0).random(geometry.volume_shape, np.float32)
        p = recon.project(volume, geometry)
        work = 1e-9 * volume.size * views
        rates[name] = {
            "project": work / min(timed(lambda v=volume, g=geometry: recon.project(v, g))[1] for _ in range(repeats)),  # type: ignore[misc]
            "backproject": work
            / min(timed(lambda q=p, g=geometry: recon.backproject(q, g))[1] for _ in range(repeats)),  # type: ignore[misc]
        }
    return rates


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("case", nargs="?", choices=CASES, default="B1")
    cli.add_argument("--sweeps", type=int, default=1)
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--to-error", action="store_true", help="default arguments, time to the peer's error")
    cli.add_argument("--noisy", action="store_true", help=f"with the noise of {COUNTS:.0f} open-beam counts")
    cli.add_argument("--fdk", action="store_true", help="filtered back projection instead")
    cli.add_argument("--projectors", action="store_true", help="rates of the projector pair")
    args = cli.parse_args()
    if args.projectors:
        for size, rate in projectors().items():
            print(f"{size}: project {rate['project']:.2f}, backproject {rate['backproject']:.2f} G voxel views / s")
        raise SystemExit
    if args.to_error:
        result = time_to_error(args.case, args.noisy, args.seed)
        print(f"{args.case}, default arguments, {'noisy' if args.noisy else 'no noise'}, seed {args.seed}")
    elif args.fdk:
        result = {"peer": "FDK"} | filtered(args.case, args.seed)
        print(f"{args.case}, filtered back projection, seed {args.seed}")
    else:
        result = {"peer": "SART"} | run(args.case, args.sweeps, args.seed)
        print(f"{args.case}, {args.sweeps} sweep(s), one view per subset, seed {args.seed}")
    print(
        f"  recon         {result['seconds']:7.2f} s  RMSE {result['rmse']:.3e}, compiling {result['compile_s']:.1f} s"
    )
    print(f"  itk-rtk {result['peer']:6}{result['peer_seconds']:7.2f} s  RMSE {result['peer_rmse']:.3e}")
    print(f"  {result['speed_ratio']:.1f} times as fast, error ratio {result['error_ratio']:.3f}")
