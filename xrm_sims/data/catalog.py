"""Access to the catalogue, through a running server of the data root or else inside this process."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from xrm_sims.data.layout import Layout
from xrm_sims.data.layout import api_key as key_of

Data = str | os.PathLike[str] | None
_ALIVE_TIMEOUT_S = 2.0
# By default Tiled retries ten times within 45 s; three times are enough because the journal holds everything
os.environ.setdefault("TILED_RETRY_ATTEMPTS", "3")
_in_process: dict[Path, Any] = {}
_recorders: dict[Path, Callable[[], object]] = {}
_lock = threading.Lock()


def open_catalog(data: Data = None, api_key: str | None = None) -> Any:
    """Return a Tiled client of ``/runs``. Its ``.v1`` is databroker's Broker. Open one client for ``.v1`` and another
    for ``.v2``, because each view stores its state in the client. Parameters and errors as for :func:`connect`."""
    return mounted(connect(data, api_key), "runs")


def open_results(data: Data = None) -> Any:
    """Return a Tiled client of ``/results``."""
    return mounted(connect(data), "results")


def results_beside(catalog: Any) -> Any:
    """Return a client of ``/results`` on the server of this client of ``/runs``."""
    return mounted(catalog.context, "results")


def connect(data: Data = None, api_key: str | None = None) -> Any:
    """Return a Tiled context of a data root: of its running server, else of a server inside this process.

    The server inside this process is created once and shared. Both may be open at the same time, on one database.

    Parameters
    ----------
    data : data root, or the address of a Tiled server (``http://…``, as ``xrm-sims serve`` prints it).
    api_key : key of that server; needed when neither the address nor TILED_API_KEY holds it.

    Raises RuntimeError when no server answers at the address, PermissionError when it refuses the key.
    """
    from tiled.client.context import Context

    if is_address(data):
        return _connect_to(str(data), api_key)
    layout = Layout.of(data)
    if uri := running_server(layout):
        return Context(uri, api_key=key_of(layout))
    with _lock:
        if layout.root not in _in_process:
            _in_process[layout.root] = in_process(layout)
        return _in_process[layout.root]


def is_address(data: Any) -> bool:
    """Return whether this is the address of a server rather than a folder."""
    return isinstance(data, str) and data.startswith(("http://", "https://"))


def _connect_to(address: str, api_key: str | None) -> Any:
    import httpx
    from tiled.client.context import Context

    url = httpx.URL(address)
    where = url.copy_with(path=url.path.partition("/ui")[0] or "/", query=None)
    key = api_key or url.params.get("api_key") or os.environ.get("TILED_API_KEY")
    try:
        context, _ = Context.from_any_uri(str(where), api_key=key)
        context.http_client.get(f"{context.api_uri}metadata/").raise_for_status()
    except httpx.TransportError as error:
        raise RuntimeError(f"no Tiled server answers at {where} ({error}); does xrm-sims serve run there?") from None
    except httpx.HTTPStatusError as error:
        words = "refuses this key" if key else "wants a key: api_key=…, or TILED_API_KEY"
        raise PermissionError(f"the server at {where} {words} ({error.response.status_code})") from error
    return context


def in_process(layout: Layout, database: str | None = None) -> Any:
    """Return a Tiled context of a server inside this process, on this PostgreSQL database or on that of the data root.

    Raises RuntimeError when PostgreSQL does not answer.
    """
    from tiled.client.context import Context

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
        from xrm_sims.data.server import make_app

        return Context.from_app(make_app(layout, database))


def disconnect(data: Data = None) -> None:
    """Close the catalogue inside this process, if there is one; the next ``connect`` opens it again.

    First waits for the recorder of this process, because closing during a request would never end.
    """
    if flush := _recorders.get(Layout.of(data).root):
        flush()
    with _lock:
        context = _in_process.pop(Layout.of(data).root, None)
    if context is not None:
        context.close()


def running_server(layout: Layout) -> str | None:
    """Return the address of the running server of this data root, or None."""
    import httpx

    try:
        record = json.loads(layout.server_record.read_text())
        os.kill(record["pid"], 0)
        answer = httpx.get(record["uri"].replace("/api/v1", "/healthz"), timeout=_ALIVE_TIMEOUT_S, trust_env=False)
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return record["uri"] if answer.is_success else None


def mounted(context: Any, *path: str) -> Any:
    """Return a client of the node at this path, with its own table of node classes.

    databroker's ``.v1`` changes the table of its client; a shared one would change every client of this process.
    """
    from tiled.client import from_context
    from tiled.client.container import DEFAULT_STRUCTURE_CLIENT_DISPATCH, Container
    from tiled.utils import OneShotCachedMap

    with _lock:  # a second thread would find the table incomplete
        Container.discover_clients_from_entrypoints()
    tables = (DEFAULT_STRUCTURE_CLIENT_DISPATCH["numpy"], Container.STRUCTURE_CLIENTS_FROM_ENTRYPOINTS)
    own = OneShotCachedMap({name: partial(table.__getitem__, name) for table in tables for name in table})
    return from_context(context, structure_clients=own, node_path_parts=path)


def note_recorder(root: Path, flush: Callable[[], object] | None) -> None:
    """Register the recorder of this data root, so that readers in this process wait for it; None removes it."""
    if flush is None:
        _recorders.pop(root, None)
    else:
        _recorders[root] = flush


def as_catalog(data: Any = None) -> Any:
    """Return a client of ``/runs`` for a data root, a server's address or such a client.

    Waits for runs that this process has just recorded in the data root.
    """
    if data is not None and not isinstance(data, str | os.PathLike):
        return data
    if is_address(data):
        return open_catalog(data)
    if wait := _recorders.get(Layout.of(data).root):
        wait()
    return open_catalog(data)


def by_time(catalog: Any) -> Any:
    """Return the client of ``/runs`` sorted by the runs' start times: ``by_time(catalog)[-1]`` is the newest run.

    Without this, runs come in the order in which they entered the catalogue, which differs after a replay. Tiled
    compares times as text, which is right for all times since 2001: they have ten digits before the point.
    """
    return catalog.sort(("start.time", 1))


def find_run(uid: str, data: Any = None) -> Any:
    """Return the run with this uid, or the only run whose uid begins with it (at least five characters).

    Raises ValueError, naming the newest run, when no run or several runs match.
    """
    catalog = as_catalog(data)
    try:
        return catalog[uid]
    except KeyError:
        where = catalog.context.api_uri if catalog is data or is_address(data) else Layout.of(data).root
        latest = f"latest is {by_time(catalog)[-1].metadata['start']['uid']}" if len(catalog) else "it is empty"
        raise ValueError(f"run {uid!r} is not in the catalogue {where}; {latest}") from None


def parts_of(run: Any) -> list[Any]:
    """Return all parts of a measurement that was interrupted and resumed as databroker's runs, oldest first.

    ``run`` is any part, from databroker or Tiled.
    """
    parts = tiled_parts_of(run)
    broker = mounted(parts[0].context, *parts[0].path_parts[:-1]).v1
    return [broker[part.metadata["start"]["uid"]] for part in parts]


def tiled_parts_of(run: Any) -> list[Any]:
    """Return the parts of :func:`parts_of` as Tiled clients, which can read pieces of arrays."""
    from tiled.queries import Eq

    client = getattr(run, "v2", run)  # databroker's Header holds a Tiled client
    catalog = mounted(client.context, *client.path_parts[:-1])
    start = run.metadata["start"] if hasattr(run, "metadata") else run.start
    first = start.get("resumes_uid", start["uid"])
    parts = list(catalog.search(Eq("start.resumes_uid", first)).values())
    parts += [catalog[first]] if first in catalog else []
    return sorted(parts, key=lambda part: part.metadata["start"]["time"])


def documents(uid: str, data: Any = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents ``(name, doc)`` of a run, which databroker rebuilds from the catalogue.

    Stream datums are merged into one per stream and external key, event uids are new, event pages become events.
    Raises ValueError for an unknown uid.
    """
    run = find_run(uid, data)
    broker = mounted(run.context, "runs").v1
    return broker[run.metadata["start"]["uid"]].documents()
