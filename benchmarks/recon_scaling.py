"""Time and memory of FDK and of one SART sweep by number of views and voxels; each size in a process of its own.

python -m benchmarks.recon_scaling
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc

import numpy as np

import recon
from benchmarks import child
from benchmarks.recon_phantom import exact_projections, random_spheres, scan_geometry

SIZES = ((64, 120), (128, 120), (128, 240), (192, 240))  # edge of the volume and of the detector, views


def one(width: int, views: int) -> tuple[float, float, float]:
    """Return seconds of FDK and of one default sweep of SART, and the peak of numpy's memory for both in MB."""
    small = scan_geometry(16, 16, 8)
    recon.sart(recon.project(np.ones((16, 16, 16)), small), small, sweeps=1)
    recon.fdk(np.zeros((8, 16, 16)), small)
    geometry = scan_geometry(width, width, views)
    p = exact_projections(random_spheres(width, width, seed=1), geometry)
    tracemalloc.start()
    began = time.perf_counter()
    recon.fdk(p, geometry)
    middle = time.perf_counter()
    recon.sart(p, geometry, sweeps=1)
    return middle - began, time.perf_counter() - middle, 1e-6 * tracemalloc.get_traced_memory()[1]


def run() -> dict[str, dict[str, float]]:
    """Return ``fdk_s``, ``sart_s``, ``rate`` in 1e9 voxel x views per second of FDK and ``peak_mb`` for each size."""
    results: dict[str, dict[str, float]] = {}
    for width, views in SIZES:
        fdk_s, sart_s, peak_mb = child.result(child.start("benchmarks.recon_scaling", width, views))
        rate = 1e-9 * width**3 * views / fdk_s
        results[f"{width}^3, {views} views"] = {"fdk_s": fdk_s, "sart_s": sart_s, "peak_mb": peak_mb, "rate": rate}
    return results


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(one(int(sys.argv[1]), int(sys.argv[2]))))
    else:
        for size, found in run().items():
            print(f"{size:18}", ", ".join(f"{key} {value:.4g}" for key, value in found.items()))
