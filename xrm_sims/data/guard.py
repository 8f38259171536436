"""Middleware that refuses requests which Tiled answers although it must not.

It is needed until Tiled closes these gaps: Tiled 0.2.20 serves any file of the computer below ``/ui/`` without a key,
registers files outside the readable folders, and reads a request's body before it checks the key. Tiled itself checks
the permissions of all other requests.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_BODY_BYTES = 64 << 20  # a plane of 4096 x 4096 floats; our clients send far less per request
_BRINGING_A_BODY = {"POST", "PUT", "PATCH"}
_NAMING_NODES = ("/api/v1/metadata/", "/api/v1/register/", "/api/v1/data_source/")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RefusedError(Exception):
    """The reason for a refusal, with its HTTP status."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Guard:
    """ASGI middleware.

    Parameters
    ----------
    readable : folders whose files may be registered, after links are resolved.
    """

    def __init__(self, app: Any, readable: Sequence[Path]) -> None:
        self.app = app
        self.readable = [folder.resolve() for folder in readable]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            check_path(scope["path"])
            if scope["type"] == "http" and scope["method"] in _BRINGING_A_BODY:
                check_length(dict(scope["headers"]))
                if scope["path"].startswith(_NAMING_NODES):
                    body, receive = await _read(receive)
                    self.check_nodes(body)
        except RefusedError as refusal:
            await _refuse(scope, send, refusal)
        else:
            await self.app(scope, receive, send)

    def check_nodes(self, body: bytes) -> None:
        """Raise RefusedError for a name that is a path, and for a file outside of the readable folders."""
        try:
            said = json.loads(body)
        except ValueError:
            return  # Tiled reports the error
        except RecursionError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is nested too deeply") from None
        if isinstance(said, dict) and (name := said.get("id")) is not None and not is_plain(name):
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "id: a name cannot be a path")
        for uri in _file_uris(said):
            if not self.may_read(uri):
                raise RefusedError(HTTPStatus.FORBIDDEN, "data_uri: lies outside of what this server reads")

    def may_read(self, uri: str) -> bool:
        """Return whether a ``file://`` URI lies in a readable folder after ``..`` and links are resolved."""
        parts = urlsplit(uri)
        if parts.scheme != "file":
            return False
        return all(
            any(Path(path).resolve().is_relative_to(folder) for folder in self.readable)
            for path in (parts.path, unquote(parts.path))  # some readers do not decode it
        )


def check_path(path: str) -> None:
    """Raise RefusedError for a decoded path with ``..``, an empty part or unprintable characters."""
    *inner, _ = path.removeprefix("/").split("/")  # it may end with /
    if not path.isprintable() or ".." in path.split("/") or "" in inner:
        raise RefusedError(HTTPStatus.NOT_FOUND, "Not Found")


def check_length(headers: dict[bytes, bytes]) -> None:
    """Raise RefusedError for a body of unknown length, or of more than MAX_BODY_BYTES."""
    if b"transfer-encoding" in headers:
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "a body needs its Content-Length")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
    if len(length) > 20 or int(length) > MAX_BODY_BYTES:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {MAX_BODY_BYTES} bytes")


def is_plain(name: Any) -> bool:
    """Return whether a node name is not a path."""
    return isinstance(name, str) and name.isprintable() and name not in ("", ".", "..") and "/" not in name


def _file_uris(said: Any) -> Iterator[str]:
    """Yield the file URIs of a request's data sources, but not a ``data_uri`` in the metadata."""
    if not isinstance(said, dict):
        return
    for sources in (said.get("data_sources"), [said.get("data_source")]):
        for source in sources if isinstance(sources, list) else []:
            assets = source.get("assets") if isinstance(source, dict) else None
            for asset in assets if isinstance(assets, list) else []:
                if isinstance(asset, dict):
                    yield str(asset.get("data_uri"))


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Return the whole body, and a ``receive`` that returns it again."""
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    body = b"".join(pieces)
    again: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return again.pop() if again else await receive()

    return body, replay


async def _refuse(scope: MutableMapping[str, Any], send: Send, refusal: RefusedError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"detail": str(refusal)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
