"""Night sheets through bluesky's queue server on a real Redis, and after Redis is killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.app.conftest import is_safe, journal_starts, make_data_root
from tests.programs import installed
from xrm_sims.app.night.queue_server import ADDRESS, ask

CT = "num = 3\nstep_deg = 120.0\nbinning = 8\nnum_dark = 1\nnum_flat = 1\n"
THREE = "".join(f"[[samples]]\nname = '{name}'\nspecimen = 'cathode_pillar:{k}'\n" for k, name in enumerate("ABC", 1))
SHEET = f"""title = "Three specimens"
{THREE.replace("'A'", "'target'")}
[[steps]]
do = "tomography"
{CT}
[[steps]]
do = "reconstruct"
correct = false
sweeps = 1
[[steps]]
do = "find_rois"
[[steps]]
do = "mill"
at = "roi"
[[steps]]
do = "sims_raster"
fov_um = 10.0
shape = [16, 16]
"""
LONG = f"[[samples]]\nname = 'long'\n[[steps]]\ndo = 'tomography'\n{CT}".replace("num = 3", "num = 60").replace(
    "120.0", "6.0"
)


class Service:
    """A server process of this test; its output shows its progress."""

    def __init__(self, *command, **environment):
        self.popen = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.said = ""

    def until(self, pattern):
        while not (found := re.search(pattern, self.said)):
            piece = os.read(self.popen.stdout.fileno(), 4096)
            assert piece, f"ended before {pattern!r}: {self.said}"
            self.said += piece.decode(errors="replace")
        self.said = self.said[found.end() :]

    def end(self, number=signal.SIGTERM):
        self.popen.send_signal(number)
        while os.read(self.popen.stdout.fileno(), 4096):
            pass
        self.popen.wait()
        self.popen.stdout.close()


def free_port(*further):
    """Return a free port for which the ports at these offsets are free too."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if all(_free(port + more) for more in further):
            return port


def _free(port):
    with socket.socket() as other:
        return port < 65536 and other.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Functions that start Redis and the manager; all of them are ended afterwards."""
    installed("redis-server")
    folder = tmp_path_factory.mktemp("queue")
    data = make_data_root(folder / "data")
    redis_port, port = free_port(), free_port(10)
    started = []

    def redis():
        options = ["--port", redis_port, "--bind", "127.0.0.1", "--appendonly", "yes", "--dir", folder]
        started.append(Service("redis-server", *options))
        started[-1].until("Ready to accept connections")
        return started[-1]

    def manager():
        xrm_sims = [sys.executable, "-m", "xrm_sims.app.cli.main"]
        options = ["--redis", f"127.0.0.1:{redis_port}", "--port", port, "--data", data]
        started.append(Service(*xrm_sims, "queue", *options, XRM_SIMS_SEED="1"))
        started[-1].until("ZeroMQ server is waiting")
        return started[-1]

    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = f"tcp://127.0.0.1:{port}"
    yield data, redis, manager
    os.environ.pop(ADDRESS) if before is None else os.environ.update({ADDRESS: before})
    for service in reversed(started):
        if service.popen.poll() is None:
            service.end()


def until_idle():
    while ask("status")["manager_state"] != "idle":
        pass


def record_of(data, title):
    records = [json.loads(path.read_text()) for path in sorted((data / "nights").glob("*/night.json"))]
    return next(record for record in records if record["title"] == title)


def test_three_specimens_and_a_redis_that_dies(servers, command, tmp_path):
    data, start_redis, start_manager = servers
    for name, text in (("three", SHEET), ("long", LONG), ("bad", SHEET.replace("num = 3", "num = 0"))):
        (tmp_path / f"{name}.toml").write_text(text)

    def hand_in(name):
        return command("night", tmp_path / f"{name}.toml", "--queue", "--data", data)

    nobody = command("queue", "--redis", f"127.0.0.1:{free_port()}", "--data", data)
    assert nobody.code == 1
    assert re.search(r"Redis at \S+ does not answer; start it with: redis-server", nobody.err)

    redis, manager = start_redis(), start_manager()
    ask("environment_open")
    manager.until("Worker started successfully")
    until_idle()
    allowed = ask("plans_allowed", user_group="primary")["plans_allowed"]
    assert set(allowed) == {"night", "tomography", "sims_raster", "se_image", "eds_map"}
    assert set(ask("devices_allowed", user_group="primary")["devices_allowed"]) == {"scope"}
    refused = hand_in("bad")
    assert refused.code == 1
    assert "steps[0].num: needs a whole number of at least 1, got 0" in refused.err
    with pytest.raises(RuntimeError, match=r"refuses: .*not in the list of allowed plans"):
        ask("queue_item_add", item={"item_type": "plan", "name": "mill"}, user="x", user_group="primary")

    assert hand_in("three").code == 0  # while the worker holds the instrument
    ask("queue_start")
    manager.until("Queue is empty")
    night = record_of(data, "Three specimens")
    assert (night["state"], night["safe"]) == ("done", True)
    done = [(o["sample"], o["do"]) for o in night["outcomes"] if o["status"] == "done"]
    for name in ("target", "B", "C"):  # a sample called like a device is still a sample
        assert [do for sample, do in done if sample == name][:4] == [
            "exchange",
            "tomography",
            "reconstruct",
            "find_rois",
        ]
        assert (name, "sims_raster") in done
    (summary,) = (data / "nights").glob("*/summary.html")
    assert "ran to its end" in summary.read_text()
    assert {start["night_uid"] for start in journal_starts(data)} == {night["uid"]}

    assert hand_in("long").code == 0
    assert hand_in("three").code == 0
    ask("queue_start")
    manager.until(r"[1-9]\d*/60")
    redis.end(signal.SIGKILL)
    manager.until(r"Redis at \S+ is gone; a running plan will finish")
    manager.until("Redis at .* is gone, so the queue server has ended; start Redis, then xrm-sims queue")
    assert manager.popen.wait() == 1
    assert record_of(data, "Night")["state"] == "done"  # the night does not notice
    assert record_of(data, "Night")["safe"]
    assert is_safe(data)

    start_redis()
    start_manager()
    (waiting,) = ask("queue_get")["items"]
    assert waiting["args"][1]["title"] == "Three specimens"
    last = ask("history_get")["items"][-1]
    assert last["args"][1]["samples"][0]["name"] == "long"
    assert last["result"]["exit_status"] == "unknown"  # the manager's word; the night's own record knows
    assert ask("status")["manager_state"] == "idle"


def test_without_a_manager(tmp_path, command, monkeypatch, data):
    monkeypatch.setenv(ADDRESS, f"tcp://127.0.0.1:{free_port()}")
    monkeypatch.setattr("xrm_sims.app.night.queue_server._ANSWER_MS", 300)
    (tmp_path / "three.toml").write_text(SHEET)
    ended = command("night", tmp_path / "three.toml", "--queue", "--data", data)
    assert ended.code == 1
    assert re.search(r"the queue server at \S+ does not answer; start it with xrm-sims queue", ended.err)
    assert not (data / "twin").exists()
