"""Requests that nobody would send, made after the server's own OpenAPI schema: it refuses, leaks nothing, lives on."""

from __future__ import annotations

import json
import random
import socket
import string
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest

from tests.data.conftest import KEY, recording
from xrm_sims.data import results
from xrm_sims.data.catalog import disconnect
from xrm_sims.data.layout import Layout

SECRET = "the words beside the data root"
MOST_MB = 1500  # resident memory of the server, whatever it is asked
OPEN = ("/healthz", "/ui/", "/tiled-ui-settings", "/openapi.json", "/docs")  # what answers without the key
EXAMPLES = [120, pytest.param(6000, marks=(pytest.mark.soak, pytest.mark.timeout(3600)))]
PIECES = [
    "..",
    ".",
    "",
    "%2e%2e",
    "%2f",
    "%00",
    "%0a",
    "\\",
    "~",
    "etc",
    "passwd",
    "c",
    "0",
    "zarr.json",
    "'",
    '"',
    ";",
    "é",
    "\u202e",
]
NUMBERS = ["0", "-1", "1", "2", "7", "300", "1e400", "nan", "99999999999999999999", "", "0x10", "1.5", "²"]
SLICES = [
    "0",
    ":",
    "::2",
    "::0",
    "::-1",
    "-1",
    "99",
    "0,0",
    ",,,",
    ":::",
    "1:0",
    "0:99999999999999999999",
    "1,2,3,4,5",
    "...",
]
FORMATS = [
    "application/octet-stream",
    "image/png",
    "text/csv",
    "text/html",
    "image/tiff",
    "application/json",
    "json-seq",
    "a/b",
    "*/*",
]


class Server:
    """``xrm-sims serve`` in a process of its own."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "xrm_sims.app.cli.main", "serve", "--port", "0", "--data", str(data)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        self.port = int(said.partition("127.0.0.1:")[2].partition("/")[0])
        self.key = said.partition("api_key=")[2].split()[0]

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Over a plain socket; what is no answer has status 0."""
        headers = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body))} | (headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body

    def memory_mb(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


class Inventor:
    """Requests for the operations of a schema, most of them nearly right."""

    def __init__(self, schema: dict, known: list[str], seed: int) -> None:
        self.rng = random.Random(seed)
        self.schemas = schema.get("components", {}).get("schemas", {})
        self.known = known
        methods = ("get", "post", "put", "patch", "delete")
        self.operations = [
            (method, path, operation)
            for path, of_path in schema["paths"].items()
            for method, operation in of_path.items()
            if method in methods
        ]

    def request(self) -> tuple[str, str, bytes, dict[str, str]]:
        method, path, operation = self.rng.choice(self.operations)
        while "{" in path:
            before, _, rest = path.partition("{")
            path = before + self.path() + rest.partition("}")[2]
        query = []
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query" and self.rng.random() < (0.9 if parameter.get("required") else 0.3):
                query += [
                    (parameter["name"], self.word(parameter["name"])) for _ in range(self.rng.choice([1, 1, 1, 3]))
                ]
        if self.rng.random() < 0.1:
            query.append(
                (
                    self.rng.choice(
                        ["filter[eq][condition][key]", "api_key", "filter[regex][condition][pattern]", "x"]
                    ),
                    self.text(),
                )
            )
        target = path + ("?" + urlencode(query) if query else "")
        body, headers = b"", {}
        if method != "get" and self.rng.random() < 0.9:
            body = self.body(operation)
            headers["Content-Type"] = self.rng.choice(
                ["application/json"] * 6 + ["application/octet-stream", "text/csv", "", "x"]
            )
        if self.rng.random() < 0.1:
            headers["Accept"] = self.rng.choice(FORMATS)
        return self.rng.choice([method.upper()] * 20 + ["HEAD", "OPTIONS", "TRACE", "BREW"]), target, body, headers

    def path(self) -> str:
        if self.rng.random() < 0.6:
            return quote(self.rng.choice(self.known))
        pieces = [*PIECES, *self.known, self.text()]
        return "/".join(quote(self.rng.choice(pieces), safe="%") for _ in range(self.rng.randrange(1, 6)))

    def word(self, name: str) -> str:
        if self.rng.random() < 0.2:
            return self.text()
        if "slice" in name or "block" in name:
            return self.rng.choice(SLICES)
        if name == "format":
            return self.rng.choice(FORMATS)
        if "path" in name or "uri" in name:
            return self.rng.choice(["../secret.txt", "../../../../etc/passwd", "/etc/passwd", "c/0/0", self.text()])
        return self.rng.choice([*NUMBERS, "true", "a", "-start.time", "primary", '"a"', "[]", "{}"])

    def text(self) -> str:
        letters = string.printable + "é\u202e\ud7ff\0"
        return "".join(self.rng.choice(letters) for _ in range(self.rng.choice([0, 1, 5, 40, 2000])))

    def body(self, operation: dict) -> bytes:
        if self.rng.random() < 0.3:
            return self.rng.randbytes(self.rng.choice([1, 20, 3000]))
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        return json.dumps(self.value(content.get("schema", {}), 6)).encode()

    def value(self, schema: dict, depth: int) -> object:
        """Something that the schema asks for, or not quite."""
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        if self.rng.random() < 0.1 or depth == 0:
            return self.rng.choice([None, True, -1, 1e308, 2**70, "", "..", "../x", [], {}, self.text()])
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return self.value(self.rng.choice(schema[key]), depth)
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            properties = schema.get("properties", {"a": {}})
            return {name: self.value(of, depth - 1) for name, of in properties.items() if self.rng.random() < 0.9}
        if kind == "array":
            return [self.value(schema.get("items", {}), depth - 1) for _ in range(self.rng.choice([0, 1, 1, 3]))]
        if kind in ("integer", "number"):
            return self.rng.choice([0, 1, -1, 10**9, 2**63])
        if kind == "boolean":
            return self.rng.random() < 0.5
        return self.rng.choice(["a", "file://localhost/etc/passwd", "application/x-zarr", "..", self.text()])


@pytest.fixture
def served(data):
    with recording(data) as run:
        uid = run(3, {"sample_name": "cathode"})
    results.save(data, uid, "volume", {"volume": np.ones((4, 30, 40), np.float32)}, tables={"rois": [{"kind": "pore"}]})
    disconnect(data)
    beside = Layout(data).root.parent
    (beside / "secret.txt").write_text(SECRET)
    (Layout(data).frames / "link.txt").symlink_to(beside / "secret.txt")
    server = Server(data)
    yield (
        server,
        [
            f"runs/{uid}",
            f"runs/{uid}/primary/{KEY}",
            f"results/{uid}/volume/volume",
            f"results/{uid}/volume/rois",
            "runs",
            "results",
        ],
    )
    server.process.terminate()
    server.process.communicate()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_whatever_is_asked(served, data, examples):
    server, known = served
    beside = Layout(data).root.parent
    before = sorted(beside.iterdir())
    status, schema = server.ask("GET", "/openapi.json")
    assert status == 200
    inventor = Inventor(json.loads(schema), known, seed=examples)
    answered = {True: 0, False: 0}
    for number in range(examples):
        with_key = number % 2 == 0
        method, target, body, headers = inventor.request()
        key = {"Authorization": f"Apikey {server.key}"} if with_key else {}
        status, answer = server.ask(method, target, body, headers | key)
        told = f"{method} {target[:300]} {body[:300]!r}: {status} {answer[:300]!r}"
        assert 200 <= status < 600 or not answer, told
        assert not any(
            words in answer for words in (SECRET.encode(), b"root:x:0:0", b"Traceback", server.key.encode())
        ), told
        if not with_key and status < 300 and method not in ("HEAD", "OPTIONS"):
            assert target.startswith(OPEN) or target == "/" or is_bare(answer), told
        answered[with_key] += status < 300
        if number % 50 == 0:
            assert server.ask("GET", "/healthz")[0] == 200, told
            assert server.memory_mb() < MOST_MB, told
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.process.poll() is None
    assert sorted(beside.iterdir()) == before
    assert answered[True] > examples / 40, "hardly a request was understood: the inventor is no good"


def is_bare(answer: bytes) -> bool:
    """Whether an answer tells nothing but what Tiled is."""
    return not answer or b"library_version" in answer
