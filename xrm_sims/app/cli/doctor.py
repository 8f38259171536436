"""Is this simulator fit? Each finding is one line; a bad one says what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
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
        *_instrument(data),
        *_catalogue(data),
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
    layer = numba.threading_layer()  # type: ignore[attr-defined]
    # live reconstruction and the twin run compiled code from two Python threads at once
    yield Finding(
        layer in ("omp", "tbb"),
        f"{os.cpu_count()} cores, compiled code on {numba.get_num_threads()} threads, threading layer {layer}"
        + ("" if layer in ("omp", "tbb") else ": install libgomp1, this one does not stand two threads"),
    )


def _data_root(data: Path | None) -> Iterator[Finding]:
    from xrm_sims.data.layout import data_root

    root = data_root(data)
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            yield Finding(True, f"data root {root} can be written")
    except OSError as error:
        yield Finding(False, f"data root {root} cannot be written ({error.strerror}): choose another with --data")
    free_gb = shutil.disk_usage(existing).free / 1e9
    yield Finding(
        free_gb > _FREE_GB, f"{free_gb:.0f} GB free there (a full-format tomogram with its volume takes about 4 GB)"
    )


def _instrument(data: Path | None) -> Iterator[Finding]:
    from xrm_sims.app.session.hardware import TWIN, session_settings
    from xrm_sims.data.journal import interrupted_runs
    from xrm_sims.data.layout import Layout
    from xrm_sims.twin.state_store import InstrumentInUse, StateStore

    layout = Layout.of(data)
    try:
        session_settings(layout.root)
        yield Finding(True, "settings can be read")
    except ValueError as error:
        yield Finding(False, f"settings: {' '.join(str(error).split())}")
    if not (layout.root / TWIN).exists():
        yield Finding(True, "no instrument there yet: the first session makes one")
        return
    try:
        StateStore(layout.root / TWIN).close()
    except InstrumentInUse as held:
        yield Finding(True, str(held))
        return  # its runs may well be going on
    except ValueError as error:
        yield Finding(False, str(error))
        return
    yield Finding(True, f"instrument {layout.root / TWIN} is free")
    lost = len(interrupted_runs(layout.journal))
    hint = f": xrm-sims recover --data {layout.root} closes them" if lost else ""
    yield Finding(not lost, f"{lost} runs in the journal never ended{hint}")


def _catalogue(data: Path | None) -> Iterator[Finding]:
    from xrm_sims.data.catalog import running_server
    from xrm_sims.data.layout import Layout

    layout = Layout.of(data)
    uri = running_server(layout)
    yield Finding(True, f"catalogue is served at {uri}" if uri else "catalogue is not served (xrm-sims serve does)")
