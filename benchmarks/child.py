"""Measurements in a process of their own, so that memory and compilation are their own too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def start(module: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start ``python -m module arguments``, behind the command ``prefix`` if given."""
    command = [*prefix, sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> Any:
    """Wait for a process and return the JSON value in the last line of its output; RuntimeError when it fails."""
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} failed with exit code {process.returncode}")
    return json.loads(out.splitlines()[-1])


def memory_mb(what: str, pid: int | str = "self") -> float:
    """Return ``VmRSS`` (present) or ``VmHWM`` (largest) of a process in MB, without its parent (unlike getrusage)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
