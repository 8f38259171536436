"""Is this machine fit? Each finding is one line; a bad one says what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LIBRARIES = [
    "bluesky",
    "ophyd",
    "databroker",
    "tiled",
    "bluesky-tiled-plugins",
    "event-model",
    "numpy",
    "scipy",
    "scikit-image",
    "numba",
    "h5py",
    "xraylib",
    "ipython",
]
_FREE_GB = 10.0  # a full-format tomogram with its volume takes about 4 GB


@dataclass(frozen=True)
class Finding:
    good: bool
    text: str

    def __str__(self) -> str:
        return f"[{'ok' if self.good else 'BAD'}] {self.text}"


def examine(data: Path | None = None) -> list[Finding]:
    """All findings, in the order a person would look."""
    return [
        *_python(),
        *_libraries(),
        *_threads(),
        *_data_root(data),
    ]


def _python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(sys.version_info >= (3, 11), f"Python {version} (needs 3.11 or newer)")


def _libraries() -> Iterator[Finding]:
    for name in _LIBRARIES:
        try:
            yield Finding(True, f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(False, f"{name} is not installed: run make install")


def _threads() -> Iterator[Finding]:
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def total(values):  # type: ignore[no-untyped-def]
        result = 0.0
        for k in numba.prange(values.size):
            result += values[k]
        return result

    total(np.ones(8))
    layer = numba.threading_layer()
    # live reconstruction and the twin run compiled code from two Python threads at once
    yield Finding(
        layer in ("omp", "tbb"),
        f"{os.cpu_count()} cores, compiled code on {numba.get_num_threads()} threads, threading layer {layer}"
        + ("" if layer in ("omp", "tbb") else ": install libgomp1, this one does not stand two threads"),
    )


def _data_root(data: Path | None) -> Iterator[Finding]:
    from xrm_sims.app.session import TWIN
    from xrm_sims.data.layout import data_root

    root = data_root(data)
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    yield Finding(os.access(existing, os.W_OK), f"data root {root} can be written")
    free_gb = shutil.disk_usage(existing).free / 1e9
    yield Finding(
        free_gb > _FREE_GB, f"{free_gb:.0f} GB free there (a full-format tomogram with its volume takes about 4 GB)"
    )
    if (root / TWIN).exists():
        from xrm_sims.twin.store import InstrumentInUse, Store

        try:
            Store(root / TWIN).close()
            yield Finding(True, f"instrument {root / TWIN} is free")
        except InstrumentInUse as held:
            yield Finding(True, str(held))
