"""The Tiled server of a data root: ``/runs``, a catalogue of Bluesky runs, and ``/results``, plain.

It uses SQLite (or PostgreSQL, see ``database``) and local files. Only the frames folder and files of the catalogue can
be read through it. Importing Tiled's server takes seconds, so this module is imported only when a server is needed.
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

from xrm_sims.atomic_write import write_whole
from xrm_sims.data.database import database_of, trees
from xrm_sims.data.guard import Guard
from xrm_sims.data.layout import HOST, Layout, api_key
from xrm_sims.data.users import one_key, several_people
from xrm_sims.data.web import SETTINGS

RESPONSE_BYTES = 105_000_000  # Tiled's client gathers chunks up to 100 MiB
LEAST_PRIORITY = 19


def server_config(layout: Layout, database: str | None, *, users: bool = False) -> dict[str, Any]:
    """Return Tiled's configuration; with ``users`` people log in, else the API key gives full access."""
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
        "expose_raw_assets": False,  # Tiled does not confine a relative_path to the asset's folder
    }


def make_app(layout: Layout, database: str | None = None, *, users: bool = False) -> Any:
    """Return the server as an ASGI application, on this PostgreSQL database or on that of the data root."""
    os.environ.setdefault("TILED_UI_SETTINGS", str(SETTINGS))
    get_settings.cache_clear()  # else all applications of a process would share the settings and key of the last
    app = build_app_from_config(server_config(layout, database or database_of(layout), users=users))
    app.dependency_overrides[get_settings]()  # creates settings for this application, which it keeps
    app.add_middleware(Guard, readable=[layout.frames])
    logging.getLogger("tiled.server.app").setLevel(logging.WARNING)  # it logs a greeting at each start
    return app


class _Server(uvicorn.Server):
    """Calls ``on_ready`` when it accepts requests."""

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
    port : port number; 0 selects a free one.
    users : whether people log in (see ``users``) instead of using the API key. Programs on this computer then do not
        use the server, because they have no password.
    host : address of the interface to listen on; other than loopback only with ``users``.

    Raises RuntimeError when the port is taken or the server does not start, ValueError for a host without users.
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
        """Address for Tiled clients."""
        return f"{self.base}/api/v1{self._query}"

    @property
    def url(self) -> str:
        """Address for browsers."""
        return f"{self.base}/ui/{self._query}"

    @property
    def base(self) -> str:
        """Address without path."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def _query(self) -> str:
        return "" if self.users else f"?api_key={self.key}"

    def run(self, announce: Callable[[str], object] = lambda url: None) -> None:
        """Serve until interrupted; ``announce`` is called with the browser's address when the server is ready."""

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
        """Serve from a thread; return when the server is ready."""
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
    """Serve a data root until Ctrl-C; ``announce`` is called with the address for browsers, including the key.

    The process runs at the lowest priority, so that it does not slow a measurement on this computer.
    """
    server = TiledServer(data, port, users=users, host=host)
    _let_others_go_first()

    def ready(url: str) -> None:
        announce(f"Browse {server.layout.root} at {url} (Ctrl-C stops)")
        threading.Thread(target=_warm_up, args=(server,), name="warm-up", daemon=True).start()

    server.run(ready)


def _let_others_go_first() -> None:
    os.nice(LEAST_PRIORITY)
    with contextlib.suppress(OSError):  # some kernels schedule by terminal, not by process
        Path("/proc/self/autogroup").write_text(str(LEAST_PRIORITY))
    if hasattr(os, "SCHED_IDLE"):  # Linux: at nice 19, twenty requests would still take a third of the CPU
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _warm_up(server: TiledServer) -> None:
    """Do the work of a first request in advance, which saves the first visitor a quarter of a second."""
    import httpx
    import tiled.adapters.zarr  # noqa: F401

    with contextlib.suppress(httpx.HTTPError):
        for path in ("metadata/", "metadata/results/a/b/c"):
            httpx.get(
                f"{server.base}/api/v1/{path}", headers={"Authorization": f"Apikey {server.key}"}, trust_env=False
            )


def _record(layout: Layout, port: int) -> None:
    record = {"uri": f"http://{HOST}:{port}/api/v1", "port": port, "pid": os.getpid()}
    write_whole(layout.server_record, json.dumps(record))


def _forget(layout: Layout, port: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        if json.loads(layout.server_record.read_text())["port"] == port:
            layout.server_record.unlink()
