"""The demo: the paper's experiment on the twin, from an empty folder to pictures and ``summary.json``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrm_sims.app.correlative.closed_loop import TOMOGRAPHY, run_closed_loop


def run_demo(
    out: Path, *, seed: int = 1, data: Path | None = None, tomography: Mapping[str, Any] = TOMOGRAPHY
) -> dict[str, Any]:
    """The closed loop on a fresh specimen, and where to look at what came out."""
    summary = run_closed_loop(out, seed=seed, data=data, tomography=tomography, purpose="demo")
    program, root = os.path.relpath(sys.argv[0]), data or out / "data"
    print(f"one page about it: {program} report {summary['experiment_uid'][:8]} --data {root}")
    print(f"browse it: {program} serve --data {root}")
    return summary
