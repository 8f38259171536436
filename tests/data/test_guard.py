"""What the server refuses, asked over a plain socket: clients tidy a path up before they send it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from xrm_sims.data import results
from xrm_sims.data.catalog import disconnect
from xrm_sims.data.guard import MAX_BODY_BYTES
from xrm_sims.data.layout import Layout
from xrm_sims.data.server import TiledServer

SECRET = "outside,of,the,root"


class Asked:
    """A server whose data root has a secret beside it, and a link to that."""

    def __init__(self, folder: Path) -> None:
        self.secret = folder / "secret.csv"
        self.secret.write_text(f"{SECRET}\n1,2,3,4\n")
        self.layout = Layout(folder / "data")
        self.server = TiledServer(self.layout.root).start()
        self.key = self.server.key
        (self.layout.frames / "link.csv").symlink_to(self.secret)
        (self.layout.frames / "own.csv").write_text("a,b\n5,6\n")

    def __call__(self, path: str, body: bytes = b"", *, key: bool = True, method: str = "", **headers: str) -> tuple:
        """Status and body of the answer."""
        headers = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body))} | headers
        headers |= {"Authorization": f"Apikey {self.key}"} if key else {}
        lines = [f"{method or ('POST' if body else 'GET')} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        head, _, text = answer.decode(errors="replace").partition("\r\n\r\n")
        return int(head.split()[1]), text

    def register(self, uri: str, name: str = "table", where: str = "register") -> tuple:
        source = {"structure_family": "table", "mimetype": "text/csv", "management": "external", "parameters": {}}
        asset = {"data_uri": uri, "is_directory": False, "parameter": "data_uris", "num": 0}
        structure = {"arrow_schema": ARROW, "npartitions": 1, "columns": ["a", "b"], "resizable": False}
        node = {"id": name, "structure_family": "table", "metadata": {}, "specs": []}
        body = node | {"data_sources": [source | {"structure": structure, "assets": [asset]}]}
        return self(f"/api/v1/{where}/results", json.dumps(body).encode(), **{"Content-Type": "application/json"})


def _arrow() -> str:
    import pandas
    from tiled.structures.table import TableStructure

    return TableStructure.from_pandas(pandas.DataFrame({"a": [5], "b": [6]})).arrow_schema


ARROW = _arrow()


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    asked = Asked(tmp_path_factory.mktemp("guarded"))
    yield asked
    asked.server.stop()
    disconnect(asked.layout.root)


CLIMB = "../" * 12


@pytest.mark.parametrize(
    "path",
    [
        "/ui/{secret}",
        "/ui/%2f{secret}",
        f"/ui/{CLIMB}{{secret}}",
        f"/ui/{CLIMB.replace('..', '%2e%2e')}{{secret}}",
        f"/ui/{CLIMB.replace('/', '%2f')}{{secret}}",
        "/ui//{key}",
        f"/static/{CLIMB}{{secret}}",
        "/api/v1/array/full/runs/../../{secret}",
        "/zarr/v2/runs/..%2f..%2f{secret}",
        "/ui/%00",
        "/ui/%0d%0aSet-Cookie:%20a=b",
    ],
)
@pytest.mark.parametrize("key", [False, True])
def test_no_path_leads_out_of_the_data_root(ask, path, key):
    status, text = ask(path.format(secret=ask.secret, key=ask.layout.tiled / "api_key"), key=key)
    assert status == 404
    assert SECRET not in text
    assert ask.key not in text


def test_the_web_page_is_there(ask):
    for path in ("/ui/", "/ui/browse/runs"):
        status, text = ask(path, key=False)
        assert status == 200
        assert "<title>" in text
        assert ask.key not in text


DATA = [
    "metadata/",
    "search/runs",
    "array/full/runs/a",
    "table/full/results/a",
    "container/full/runs",
    "revisions/runs",
]


@pytest.mark.parametrize("path", [*DATA, "metrics", "asset/bytes/runs?id=1"])
def test_without_the_key_there_is_nothing(ask, path):
    for wrong in (
        {},
        {"Authorization": f"Apikey {'0' * 64}"},
        {"Cookie": "tiled_api_key=0"},
        {"Authorization": "Bearer x"},
    ):
        status, text = ask(f"/api/v1/{path}", key=False, **wrong)
        assert status == 401
        assert str(ask.layout.root) not in text


ZARR = [
    "v2/",
    "v2/.zgroup",
    "v2/.zattrs",
    "v3/",
    "v3/zarr.json",
    "v3/one/zarr.json",
    "v3/one/c/0",
    "v2/one/.zarray",
    "v2/one/0",
]


@pytest.mark.parametrize("path", ZARR)
def test_without_the_key_there_is_nothing_of_zarr_either(ask, path):
    version, _, rest = path.partition("/")
    results.save(ask.layout.root, "one", "kind", {"one": np.arange(3.0)})
    target = f"/zarr/{version}/results/one/kind/{rest}"
    assert ask(target, key=False)[0] == 404
    if not rest.endswith("/0"):  # Tiled cannot read chunks of what it keeps itself
        assert ask(target)[0] == 200


def test_nobody_without_the_key_writes(ask):
    body = json.dumps({"id": "mine", "structure_family": "container", "metadata": {}}).encode()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        status, _ = ask("/api/v1/metadata/results", body, key=False, method=method)
        assert status in (401, 405, 422)
    assert "mine" not in ask("/api/v1/search/results")[1]


def test_only_frames_can_be_registered(ask):
    frames = ask.layout.frames
    status, _ = ask.register(f"file://localhost{frames}/own.csv", "own")
    assert status == 200
    assert ask("/api/v1/table/full/results/own?format=text/csv")[1].split() == ["a,b", "5,6"]
    outside = [
        ask.secret.as_uri(),
        f"file://localhost{frames}/../../secret.csv",
        f"file://localhost{frames}/%2e%2e/%2e%2e/secret.csv",
        f"file://localhost{frames}/link.csv",
        f"file://localhost{ask.layout.tiled}/api_key",
        "http://127.0.0.1:9/secret.csv",
        "",
    ]
    for uri in outside:
        assert ask.register(uri)[0] == 403
        assert ask.register(uri, where="metadata")[0] == 403
    for name in ("..", ".", "a/b", "../../a", ""):
        assert ask.register(f"file://localhost{frames}/own.csv", name)[0] == 422
    for path in ("?id=1", "?id=1&relative_path=../../secret.csv"):
        assert ask(f"/api/v1/asset/bytes/results/own{path}")[0] == 403
    assert "table" not in json.loads(ask("/api/v1/search/results")[1])["data"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {"Content-Length": str(MAX_BODY_BYTES + 1)}, 413),
        (b"", {"Content-Length": "9" * 300}, 400),
        (b"", {"Content-Length": "-1"}, 400),
        (b"4\r\n{}{}\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked", "Content-Length": "0"}, 400),
        (b"[" * 100_000, {}, 400),
        (b"{", {}, 422),
        (b"\xff\xfe", {}, 422),
        (b"[]", {}, 422),
        (b'{"structure_family": "nonsense"}', {}, 422),
    ],
)
def test_bodies_that_cannot_be(ask, body, headers, status):
    found, _ = ask("/api/v1/metadata/results", body, method="POST", **{"Content-Type": "application/json"} | headers)
    assert found == status


def test_a_body_of_unknown_length_is_refused(ask):
    lines = ["POST /api/v1/metadata/results HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "1", "{", ""]
    with socket.create_connection(("127.0.0.1", ask.server.port)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(64).split()[1] == b"411"


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 4096,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 200_000,
        bytes(range(128, 256)) + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_ends_a_connection_and_nothing_else(ask, raw):
    with socket.create_connection(("127.0.0.1", ask.server.port)) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert not answer or answer.split()[1] in (b"400", b"404", b"431")
    assert ask("/healthz", key=False)[0] == 200
