"""`make bench`: every benchmark in one run, as a table on the screen and in RESULTS.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from pathlib import Path

from benchmarks import orchestration, recon_sart

RESULTS = Path(__file__).with_name("RESULTS.md")


def processor() -> str:
    """Name of the processor as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    rows = ["| what | this package | peer or limit | ratio |", "|---|---|---|---|"]
    for case in ("B1", "B2"):
        for sweeps in (1, 3):
            found = recon_sart.run(case, sweeps)
            rows.append(
                f"| {case}, SART, one view per subset, {sweeps} sweep(s): time | {found['seconds']:.2f} s "
                f"(compiling {found['compile_s']:.1f} s) | itk-rtk {found['peer_seconds']:.2f} s "
                f"| {found['speed_ratio']:.1f} times as fast |"
            )
            rows.append(
                f"| {case}, the same: RMSE | {found['rmse']:.3e} | itk-rtk {found['peer_rmse']:.3e} "
                f"| {found['error_ratio']:.3f} |"
            )
            print("\n".join(rows[-2:]), file=sys.stderr, flush=True)
    cost = orchestration.run()
    rows.append(
        f"| 1,200 projections, 320 x 64, per projection | {cost['recorded_ms']:.1f} ms with journal and Tiled "
        f"| RunEngine, device and file alone {cost['device_ms']:.1f} ms | limit 15 ms |"
    )
    text = "\n".join(
        [
            "# Benchmarks",
            "",
            f"{date.today().isoformat()}, `make bench`, {os.cpu_count()} cores of {processor()}, "
            f"Python {platform.python_version()}. Both sides of a ratio ran in this one run.",
            "",
            *rows,
            "",
        ]
    )
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
