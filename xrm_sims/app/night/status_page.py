"""A read-only web page with the state of the instrument, its last run and its night, on the loopback interface.

It reads journal, night records and frame files of a data root. It does not contact the process that measures, so it
cannot disturb it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.common.html import render
from xrm_sims.app.common.last_frame import LastFrame, png_of
from xrm_sims.app.common.progress import Tally
from xrm_sims.app.session.night_record import newest
from xrm_sims.data.journal import journal_paths, read_journal
from xrm_sims.data.layout import HOST, Layout

REFRESH_S = 5
_HOSTS = ("127.0.0.1", "localhost")


def status_of(data: Path | None = None) -> dict[str, Any]:
    """Return the content of the page as plain values: ``state``, ``holder``, ``run``, ``night``.

    ``state`` is "idle", "measuring", or "lost" if a run never ended and no process holds the instrument.
    """
    layout = Layout.of(data)
    holder = holder_of(layout)
    run = _run(layout)
    going_on = run is not None and run["exit_status"] is None
    state = "idle" if not going_on else "measuring" if holder else "lost"
    return {
        "state": state,
        "data": str(layout.root),
        "time": time.time(),
        "holder": holder,
        "run": run,
        "night": newest(layout),
    }


def holder_of(layout: Layout) -> str | None:
    """Return the process that holds the instrument, as its lock file names it; None if no process does.

    The lock is not tried, because that would make another process fail that opens the instrument at the same time.
    """
    try:
        said = (layout.root / "twin" / "lock").read_text().strip()
    except OSError:
        return None
    found = re.search(r"pid (\d+) on (\S+)", said)
    if found is None:
        return None
    if found[2] == socket.gethostname():
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
    return said


def _run(layout: Layout) -> dict[str, Any] | None:
    """Return the newest run."""
    paths = journal_paths(layout.journal)
    if not paths:
        return None
    tally = Tally(read_journal(paths[-1]))
    if not tally.start_doc:
        return None
    wall_s, instrument_s = tally.left_s or (None, None)
    return {
        "uid": tally.start_doc["uid"],
        "kind": tally.kind,
        "sample": tally.start_doc.get("sample_name", ""),
        "operator": tally.start_doc.get("operator", ""),
        "began": tally.start_doc["time"],
        "taken": tally.taken,
        "total": tally.total,
        "unit": tally.unit,
        "left_s": wall_s,
        "instrument_left_s": instrument_s,
        "exit_status": tally.stop_doc.get("exit_status"),
    }


def picture_of(data: Path | None = None) -> bytes | None:
    """Return the last frame of the newest run with frames, as a PNG."""
    for path in reversed(journal_paths(Layout.of(data).journal)):
        frame = LastFrame(read_journal(path)).read()
        if frame is not None:
            return png_of(frame)
    return None


def page_of(status: dict[str, Any]) -> str:
    """Return the HTML page. It reloads itself every few seconds and refers to nothing but its own picture."""
    title = {
        "idle": f"Idle; the instrument is held by {status['holder']}" if status["holder"] else "Idle",
        "measuring": "Measuring",
        "lost": "A run never ended and no process holds the instrument; run xrm-sims recover to make it safe",
    }[status["state"]]
    return render("night/status_page.html.j2", title=title, refresh_s=REFRESH_S, **status)


class _Handler(BaseHTTPRequestHandler):
    data: Path | None = None

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if host not in _HOSTS:  # a web site may have given this computer's address its own name
            return self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"only for this computer\n")
        path = self.path.partition("?")[0]
        try:
            if path == "/":
                self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page_of(status_of(self.data)).encode())
            elif path == "/status.json":
                self._answer(HTTPStatus.OK, "application/json", json.dumps(status_of(self.data)).encode())
            elif path == "/picture.png" and (picture := picture_of(self.data)) is not None:
                self._answer(HTTPStatus.OK, "image/png", picture)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"try /, /status.json or /picture.png\n")
        except (ValueError, OSError) as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{in_one_line(error)}\n".encode())

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def make_server(data: Path | None, port: int) -> ThreadingHTTPServer:
    """Return a server that listens but does not serve yet; port 0 chooses a free one.

    Raises RuntimeError if the port cannot be used.
    """
    try:
        return ThreadingHTTPServer((HOST, port), type("Handler", (_Handler,), {"data": data}))
    except (OSError, OverflowError) as error:
        raise RuntimeError(f"port {port} on {HOST} cannot be used ({error}); choose another") from error


def serve_status(data: Path | None, port: int, announce: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C."""
    with make_server(data, port) as server:
        announce(f"Watch {Layout.of(data).root} at http://{HOST}:{server.server_port}/ (Ctrl-C stops)")
        server.serve_forever()
