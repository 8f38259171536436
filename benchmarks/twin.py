"""Speed of the simulated microscope: full-format projections with the complete chain, and SIMS frames.

Each view is complete, as in a scan: rotation, rays through the specimen at every energy, focal spot, charge sharing,
gain, dead time and counting noise of 256 x 1280 pixels, the state on disk, and the frame in its file. The time of a
scan of 1,200 views is extrapolated from some views; memory is measured for scans of two lengths.

python -m benchmarks.twin
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import child
from xrm_sims.data.frames import FrameWriter
from xrm_sims.settings import Settings
from xrm_sims.twin import Microscope

VIEWS, STEP_DEG, EXPOSURE_S = 1200, 0.3, 90.0
TIMED, SHORTER, LONGER = 40, 20, 60
SIMS_FRAMES, SIMS_SIDE = 3, 512


def projections(views: int) -> dict[str, float]:
    """Return seconds per view, median and mean, and the largest resident memory in MB of this process."""
    settings = Settings()
    seconds = []
    with tempfile.TemporaryDirectory() as folder, Microscope(Path(folder) / "twin", settings=settings, seed=1) as twin:
        twin.target.put("x_um", -1e3 * settings.xray.source_object_mm)
        twin.widepix.put("exposure_s", EXPOSURE_S)
        twin.beam.put("blanked", False)
        shape = (settings.detector.rows, settings.detector.columns)
        twin.widepix.expose()  # compiles
        with FrameWriter(Path(folder) / "frames.h5", "/entry/data/data", shape, np.uint32) as frames:
            for view in range(views):
                began = time.perf_counter()
                twin.rotation.put("angle_deg", view * VIEWS / views * STEP_DEG)
                frames.append(twin.widepix.expose().counts)
                seconds.append(time.perf_counter() - began)
    return {
        "median_s": statistics.median(seconds),
        "mean_s": statistics.mean(seconds),
        "peak_mb": child.memory_mb("VmHWM"),
    }


def sims_frames() -> dict[str, float]:
    """Return seconds for a frame of 512 x 512 pixels and four channels, with erosion of the surface."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder, Microscope(folder, seed=1) as twin:
        twin.instrument.put("mode", "fib")
        twin.stage.put("bias_v", 500.0)
        for name in ("rows", "columns"):
            twin.fib.put(name, SIMS_SIDE)
        twin.fib.put("blanked", False)
        for _ in range(1 + SIMS_FRAMES):
            began = time.perf_counter()
            twin.sector.raster_frame()
            seconds.append(time.perf_counter() - began)
    return {"sims_s": statistics.median(seconds[1:])}  # the first one compiles


def run() -> dict[str, float]:
    """Measure in child processes.

    Returns ``scan_s``: 1,200 projections, from the mean of 40; ``faster``: times real time; ``sims_s``: one SIMS frame;
    ``shorter_mb``, ``longer_mb``: peak memory of 20 and of 60 views.
    """
    timed, shorter, longer = (_in_child("--views", views) for views in (TIMED, SHORTER, LONGER))
    scan_s = VIEWS * timed["mean_s"]
    return {
        "scan_s": scan_s,
        "faster": VIEWS * EXPOSURE_S / scan_s,
        "view_ms": 1e3 * timed["median_s"],
        "shorter_mb": shorter["peak_mb"],
        "longer_mb": longer["peak_mb"],
        **_in_child("--sims"),
    }


def _in_child(*arguments: object) -> dict[str, float]:
    return dict(child.result(child.start("benchmarks.twin", *arguments)))


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--views", type=int, help="time this number of projections in this process, and print JSON")
    cli.add_argument("--sims", action="store_true", help="time SIMS frames in this process, and print JSON")
    args = cli.parse_args()
    if args.views or args.sims:
        print(json.dumps(projections(args.views) if args.views else sims_frames()))
    else:
        found = run()
        print(f"1,200 projections of 256 x 1280: {found['scan_s']:.0f} s, {found['faster']:.0f} times real time")
        print(f"  one view {found['view_ms']:.0f} ms; SIMS frame of 512 x 512 x 4 {found['sims_s']:.2f} s")
        print(f"  peak memory {found['shorter_mb']:.0f} MB over 20 views, {found['longer_mb']:.0f} MB over 60")
