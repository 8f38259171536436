"""The Tiled server of a data root: ``/runs``, a catalogue of Bluesky runs, and ``/results``, plain.

SQLite (or PostgreSQL, see ``database``) and local files. Only the frames folder and what the catalogue wrote itself can
be read through it.
Importing Tiled's server takes seconds, so this module is imported only when a server is really needed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from tiled.server.app import build_app_from_config
from tiled.server.settings import get_settings

from xrm_sims.data.database import database_of, trees
from xrm_sims.data.guard import Guard
from xrm_sims.data.layout import HOST, Layout, api_key
from xrm_sims.data.users import one_key, several_people
from xrm_sims.data.web import SETTINGS

RESPONSE_BYTES = 105_000_000  # Tiled's client gathers chunks up to 100 MiB
LEAST_PRIORITY = 19


def server_config(layout: Layout, database: str | None, *, users: bool = False) -> dict[str, Any]:
    """Configuration in the terms of Tiled's own YAML files; with ``users`` people log in, else the key opens all."""
    for folder in (layout.frames, layout.tiled):
        folder.mkdir(parents=True, exist_ok=True)
    return {
        "trees": trees(layout, database),
        "create_mount_nodes_if_not_exist": True,
        **(several_people(layout) if users else one_key(layout)),
        "media_types": {
            "BlueskyRun": {"application/json-seq": "bluesky_tiled_plugins.exporters:json_seq_exporter"},
            "table": {"application/json-seq": "xrm_sims.data.web:json_lines"},
        },
        "routers": ["bluesky_tiled_plugins.routers.validator:router", "xrm_sims.data.web:router"],
        "streaming_cache": {"uri": "memory"},
        "response_bytesize_limit": RESPONSE_BYTES,
        "expose_raw_assets": False,  # Tiled does not hold a relative_path to the asset's folder
    }


def make_app(layout: Layout, database: str | None = None, *, users: bool = False) -> Any:
    """The server as an ASGI application, on this PostgreSQL database or on the data root's own."""
    os.environ.setdefault("TILED_UI_SETTINGS", str(SETTINGS))
    get_settings.cache_clear()  # all applications of a process would share one object, and the key of the last
    app = build_app_from_config(server_config(layout, database or database_of(layout), users=users))
    app.dependency_overrides[get_settings]()  # takes one of its own, for good
    app.add_middleware(Guard, readable=[layout.frames])
    logging.getLogger("tiled.server.app").setLevel(logging.WARNING)  # it greets on every start
    return app


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()


class TiledServer:
    """The catalogue of a data root over HTTP.

    Use it as a context manager, or ``run()`` it until Ctrl-C.

    Parameters
    ----------
    data : the data root.
    port : 0 takes a free one.
    users : whether people log in (see ``users``) instead of showing the key. Programs of this computer then do without
        the server, as they have no password.
    host : address of the interface to listen to; another than the loopback interface only with ``users``.

    Raises RuntimeError when the port is taken or the server does not come up, ValueError for a host without users.
    """

    def __init__(
        self, data: str | os.PathLike[str] | None = None, port: int = 0, *, users: bool = False, host: str = HOST
    ) -> None:
        if host not in (HOST, "localhost", "::1") and not users:
            raise ValueError(f"host {host}: others than this computer need to log in: --users")
        self.layout, self.users, self.host = Layout.of(data), users, host
        self.key = api_key(self.layout)
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise RuntimeError(f"port {port} on {host} cannot be used ({error.strerror}); choose another") from error
        self.port = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._server: _Server | None = None

    @property
    def uri(self) -> str:
        """For Tiled clients."""
        return f"{self.base}/api/v1{self._query}"

    @property
    def url(self) -> str:
        """For browsers."""
        return f"{self.base}/ui/{self._query}"

    @property
    def base(self) -> str:
        """Where it is."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def _query(self) -> str:
        return "" if self.users else f"?api_key={self.key}"

    def run(self, announce: Callable[[str], object] = lambda url: None) -> None:
        """Serve until interrupted; ``announce`` is told the browser's address as soon as it answers."""

        def ready() -> None:
            if not self.users:
                _record(self.layout, self.port)
            announce(self.url)
            self._ready.set()

        config = uvicorn.Config(
            make_app(self.layout, users=self.users), log_config=None, access_log=False, loop="asyncio"
        )
        self._server = _Server(config, ready)
        try:
            self._server.run(sockets=[self._socket])
        finally:
            _forget(self.layout, self.port)
            self._socket.close()
            self._ready.set()

    def start(self) -> TiledServer:
        """Serve from a thread; returns when it answers."""
        self._thread = threading.Thread(target=self.run, name="tiled-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._server is None or not self._server.started:
            raise RuntimeError(f"the Tiled server of {self.layout.root} did not come up; its log says why")
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> TiledServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve_forever(
    data: str | os.PathLike[str] | None = None,
    *,
    port: int = 8000,
    users: bool = False,
    host: str = HOST,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve a data root until Ctrl-C; ``announce`` gets the address for browsers, key included. Whoever measures on
    this computer goes first: this process takes the lowest priority."""
    server = TiledServer(data, port, users=users, host=host)
    _let_others_go_first()

    def ready(url: str) -> None:
        announce(f"Browse {server.layout.root} at {url} (Ctrl-C stops)")
        threading.Thread(target=_warm_up, args=(server,), name="warm-up", daemon=True).start()

    server.run(ready)


def _let_others_go_first() -> None:
    os.nice(LEAST_PRIORITY)
    with contextlib.suppress(OSError):  # where the kernel weighs terminals rather than processes
        Path("/proc/self/autogroup").write_text(str(LEAST_PRIORITY))
    if hasattr(os, "SCHED_IDLE"):  # Linux: twenty requests at the lowest priority still weigh as a third of a scan
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _warm_up(server: TiledServer) -> None:
    """What a server does once for all visitors, it does before the first comes: a quarter of a second of their wait."""
    import httpx
    import tiled.adapters.zarr  # noqa: F401

    with contextlib.suppress(httpx.HTTPError):
        for path in ("metadata/", "metadata/results/a/b/c"):
            httpx.get(
                f"{server.base}/api/v1/{path}", headers={"Authorization": f"Apikey {server.key}"}, trust_env=False
            )


def _record(layout: Layout, port: int) -> None:
    beside = layout.server_record.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({"uri": f"http://{HOST}:{port}/api/v1", "port": port, "pid": os.getpid()}))
    beside.replace(layout.server_record)


def _forget(layout: Layout, port: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        if json.loads(layout.server_record.read_text())["port"] == port:
            layout.server_record.unlink()
