"""Copying of a catalogue from SQLite files to a PostgreSQL database."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from xrm_sims.atomic_write import write_whole
from xrm_sims.data.catalog import connect, disconnect, in_process, mounted, running_server
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import replay


def move_catalogue(
    data: str | os.PathLike[str] | None, uri: str, announce: Callable[[str], object] = lambda line: None
) -> int:
    """Copy runs and results of a data root into a PostgreSQL database, switch to it, and return the number of runs.

    Runs are written from the journals, results are copied. The old catalogue is not changed and stays in use until the
    copy is complete. Nothing else may write meanwhile.

    Raises ValueError for an invalid URI, RuntimeError when the database does not answer, when a server of the data root
    is running, or when a run of the old catalogue has no journal.
    """
    layout = Layout.of(data)
    if running_server(layout):
        raise RuntimeError(f"a server of {layout.root} runs: stop it first")
    old = connect(layout.root)
    new = in_process(layout, uri)
    try:
        runs = mounted(new, "runs")
        if layout.journal.is_dir():
            announce("runs: from their journals")
            replay(layout.journal, runs)
        if lacking := set(mounted(old, "runs")) - set(runs):
            raise RuntimeError(f"{len(lacking)} runs are in no journal, {min(lacking)} among them: nothing was changed")
        into = mounted(new, "results")
        for uid, of_run in mounted(old, "results").items():
            announce(f"results of {uid[:8]}: {', '.join(of_run)}")
            if uid in into:
                into[uid].delete(recursive=True, external_only=False)  # of a move that was stopped
            _copy(of_run, into, uid)
        count = len(runs)
    finally:
        new.close()
    disconnect(layout.root)
    write_whole(layout.database, uri, private=True)
    return count


def _copy(node: Any, into: Any, name: str) -> None:
    import dask.array

    about = {"metadata": dict(node.metadata), "specs": node.specs}
    if node.structure_family == "container":
        made = into.create_container(name, **about)
        for key, child in node.items():
            _copy(child, made, key)
    elif node.structure_family == "table":
        into.write_table(node.read(), key=name, **about)
    else:
        lazy = dask.array.from_array(node, chunks=node.chunks, meta=node.dtype.type())
        into.write_array(lazy, key=name, dims=node.dims, **about)
