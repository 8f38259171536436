"""Check this machine and a data root: one line for each check, with what to do where something is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LIBRARIES = (
    *("bluesky", "ophyd", "databroker", "tiled", "bluesky-tiled-plugins", "event-model", "numpy", "scipy"),
    *("scikit-image", "numba", "h5py", "xraylib", "ipython"),
)
_TOMOGRAM_GB, _FREE_GB = 4.0, 10.0  # a full-format tomogram with its volume; what should be free


def examine(data: Path | None = None) -> Iterator[tuple[bool, str]]:
    """Yield whether each check passed, with a line about it."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield sys.version_info >= (3, 11), f"Python {version} (needs 3.11 or newer)"
    for name in _LIBRARIES:
        try:
            yield True, f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield False, f"{name} is not installed: run make install"
    yield _threads()
    yield from _data_root(data)
    yield from _instrument(data)
    yield _catalogue(data)


def _threads() -> tuple[bool, str]:
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
    safe = layer in ("omp", "tbb")  # live reconstruction and the twin run compiled code in two Python threads at once
    text = f"{os.cpu_count()} cores, compiled code on {numba.get_num_threads()} threads, threading layer {layer}"
    return safe, text if safe else f"{text}: install libgomp1, this layer fails when two threads use it"


def _data_root(data: Path | None) -> Iterator[tuple[bool, str]]:
    from xrm_sims.data.layout import data_root

    root = data_root(data)
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            yield True, f"data root {root} can be written"
    except OSError as error:
        yield False, f"data root {root} cannot be written ({error.strerror}): choose another with --data"
    free_gb = shutil.disk_usage(existing).free / 1e9
    needed = f"a full-format tomogram with its volume takes about {_TOMOGRAM_GB:g} GB"
    yield free_gb > _FREE_GB, f"{free_gb:.0f} GB free there ({needed})"


def _instrument(data: Path | None) -> Iterator[tuple[bool, str]]:
    from xrm_sims.app.session.hardware import TWIN, session_settings
    from xrm_sims.data.journal import interrupted_runs
    from xrm_sims.data.layout import Layout
    from xrm_sims.twin.state_store import InstrumentInUse, StateStore

    layout = Layout.of(data)
    try:
        session_settings(layout.root)
        yield True, "settings can be read"
    except ValueError as error:
        yield False, f"settings: {' '.join(str(error).split())}"
    if not (layout.root / TWIN).exists():
        yield True, "no instrument there yet: the first session creates one"
        return
    try:
        StateStore(layout.root / TWIN).close()
    except (InstrumentInUse, ValueError) as error:
        yield isinstance(error, InstrumentInUse), str(error)
        return  # open runs may belong to the process that uses the instrument
    yield True, f"instrument {layout.root / TWIN} is free"
    lost = len(interrupted_runs(layout.journal))
    hint = f": xrm-sims recover --data {layout.root} closes them" if lost else ""
    yield not lost, f"{lost} runs in the journal never ended{hint}"


def _catalogue(data: Path | None) -> tuple[bool, str]:
    from xrm_sims.data.catalog import running_server
    from xrm_sims.data.layout import Layout

    uri = running_server(Layout.of(data))
    return True, f"catalogue is served at {uri}" if uri else "catalogue is not served (xrm-sims serve starts a server)"
