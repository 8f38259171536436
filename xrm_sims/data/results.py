"""Results computed from runs, stored at ``/results/<run uid>/<kind>``, never inside a run.

A result holds named arrays and tables. Its metadata holds the parameters, parent runs and versions of software, and
``complete`` once everything is written; saving a kind again replaces it. Large volumes have smaller scales beside them,
``smaller/volume_2`` and so on, each voxel the mean of 2 x 2 x 2.
"""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from event_model import sanitize_doc
from numpy.typing import NDArray

from xrm_sims.data.catalog import open_results, results_beside
from xrm_sims.data.scales import SMALLER, smaller_scales

CHUNK_BYTES = 4 << 20  # reading a slice takes one or two requests, a whole volume some hundred
LARGE_BYTES = 8 * CHUNK_BYTES  # larger volumes have smaller scales beside them
_PACKAGES = ("xrm-sims", "numpy", "scipy", "numba", "scikit-image", "bluesky", "tiled")
_OWN_KEYS = ("run_uid", "kind", "parent_uids", "versions", "time", "complete")


class Result(NamedTuple):
    """Arrays and tables by name, and the metadata: that of ``save`` and the keys that every result has."""

    arrays: dict[str, NDArray[Any]]
    metadata: dict[str, Any]
    tables: dict[str, Any]


def save(
    data: Any,
    run_uid: str,
    kind: str,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    parents: Sequence[str] = (),
    *,
    tables: Mapping[str, Any] | None = None,
) -> Any:
    """Store a result and return its Tiled client.

    Parameters
    ----------
    data : data root, or a client of ``/runs``.
    run_uid : the run that it was computed from.
    kind : kind of result, e.g. ``"volume"``, ``"rois"``, ``"registration"``.
    arrays : arrays by name; a volume (z, y, x) is stored in slabs along z, a dask array in its own chunks.
    metadata : parameters of the computation; numpy's scalars and arrays become numbers and lists.
    parents : uids of the other runs that it was computed from.
    tables : tables by name; pandas DataFrames, or lists of dictionaries with the same keys.

    Raises ValueError for names that cannot be used and for an empty list as a table.
    """
    metadata, arrays, tables = dict(metadata or {}), dict(arrays or {}), dict(tables or {})
    arrays = {name: array if hasattr(array, "chunks") else np.asarray(array) for name, array in arrays.items()}
    _check_names([run_uid, kind, *arrays, *tables])
    if SMALLER in {*arrays, *tables}:
        raise ValueError(f"result {kind!r}: {SMALLER!r} is reserved for smaller scales; choose another name")
    if clash := sorted(set(metadata) & set(_OWN_KEYS)):
        raise ValueError(f"metadata: {', '.join(clash)} is a key of every result; choose another name")
    if clash := sorted(set(arrays) & set(tables)):
        raise ValueError(f"result {kind!r}: {', '.join(clash)} is both an array and a table")
    about = {
        **sanitize_doc(metadata),
        "run_uid": run_uid,
        "kind": kind,
        "parent_uids": list(parents),
        "versions": _versions(),
        "time": time.time(),
        "complete": False,
    }
    frames = {name: _frame(name, table) for name, table in tables.items()}
    results = _results(data)
    of_run = results[run_uid] if run_uid in results else results.create_container(run_uid)
    if kind in of_run:
        of_run[kind].delete(recursive=True, external_only=False)
    node = of_run.create_container(kind, metadata=about)
    for name, array in arrays.items():
        _write_array(node, name, array)
    for name, frame in frames.items():
        node.write_table(frame, key=name)
    if large := {name: array for name, array in arrays.items() if array.ndim == 3 and array.nbytes > LARGE_BYTES}:
        beside = node.create_container(SMALLER)
        for name, array in large.items():
            for factor, scaled in smaller_scales(array, CHUNK_BYTES):
                _write_array(beside, f"{name}_{factor}", scaled, {"factor": factor})
    node.update_metadata({"complete": True}, drop_revision=True)
    return node


def load(data: Any, run_uid: str, kind: str) -> Result:
    """Return a result: ``arrays, metadata, tables``.

    Raises ValueError, listing what exists, when there is no such result, and when its writer did not finish.
    """
    node = find(data, run_uid, kind)
    parts = dict(node.items())
    arrays = {name: part for name, part in parts.items() if part.structure_family == "array"}
    tables = {name: part for name, part in parts.items() if part.structure_family == "table"}
    return Result(
        {name: part.read() for name, part in arrays.items()},
        dict(node.metadata),
        {name: part.read() for name, part in tables.items()},
    )


def find(data: Any, run_uid: str, kind: str) -> Any:
    """Return the Tiled client of a result, to read a part: ``find(...)["volume"][10]``. Errors as for :func:`load`."""
    results = _results(data)
    of_run = results.get(run_uid, {})
    if kind not in of_run:
        raise ValueError(f"run {run_uid} has no result {kind!r}; it has {', '.join(sorted(of_run)) or 'none'}")
    node = of_run[kind]
    if not node.metadata.get("complete"):
        raise ValueError(f"result {kind!r} of run {run_uid} is incomplete: its writer was stopped; compute it again")
    return node


def _results(data: Any) -> Any:
    return open_results(data) if data is None or isinstance(data, str | os.PathLike) else results_beside(data)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not name or "/" in name or name in (".", ".."):
            raise ValueError(f"result: {name!r} cannot be a name in the catalogue; it needs one without '/'")


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _frame(name: str, table: Any) -> Any:
    import pandas

    frame = pandas.DataFrame(table)
    if frame.columns.empty:
        raise ValueError(f"table {name!r}: has no columns; give a DataFrame with named columns for an empty list")
    return frame


def _write_array(node: Any, name: str, array: Any, about: dict[str, Any] | None = None) -> None:
    """Write an array in slabs along the first axis; a dask array in its own chunks."""
    import dask.array

    if not isinstance(array, dask.array.Array) and array.ndim > 1 and array.nbytes > CHUNK_BYTES:
        rows = max(1, CHUNK_BYTES // array[:1].nbytes)
        array = dask.array.from_array(array, chunks=(rows, *array.shape[1:]))
    node.write_array(array, key=name, metadata=about)
