"""The status page over real HTTP, during a scan that it does not disturb."""

import json
import re
import signal
import threading
from http.client import HTTPConnection

import pytest

from tests.app.conftest import SHORT, last_journal, make_data_root
from xrm_sims.app.night.status_page import make_server

ENDLESS = ["tomography", "--num", "10000", "--step-deg", "0.03", "--binning", "8"]


class Page:
    def __init__(self, port):
        self.port = port

    def ask(self, path, method="GET", **headers):
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.getheader("Content-Type"), body

    def status(self):
        code, kind, body = self.ask("/status.json")
        assert (code, kind) == (200, "application/json")
        return json.loads(body)


@pytest.fixture
def page_on():
    servers = []

    def serve(data):
        servers.append(make_server(data, 0))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}).start()
        return Page(servers[-1].server_port)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_scan_that_goes_on_and_is_lost(data, launch, page_on):
    page = page_on(data)
    assert page.status()["state"] == "idle"
    assert page.ask("/picture.png")[0] == 404
    scan = launch(*ENDLESS, "--operator", "Ada <3", "--data", data)
    scan.until(r"[2-9]\d*/10000")
    status = page.status()
    assert status["state"] == "measuring"
    assert f"pid {scan.popen.pid} on " in status["holder"]
    run = status["run"]
    assert (run["kind"], run["total"], run["exit_status"]) == ("tomography", 10000, None)
    assert 0 < run["taken"] < 10000
    assert run["instrument_left_s"] > 0.9 * 90 * (10000 - run["taken"])  # exposures, and what lies between them
    code, kind, body = page.ask("/")
    text = body.decode()
    assert (code, kind) == (200, "text/html; charset=utf-8")
    assert '<h1 class="measuring">Measuring</h1>' in text
    assert run["uid"] in text
    assert re.findall(r"(?:src|href)=[\"']([^\"']*)", text) == ["picture.png", "status.json"]
    code, kind, picture = page.ask("/picture.png")
    assert (code, kind, picture[:4]) == (200, "image/png", b"\x89PNG")
    assert scan.popen.poll() is None
    scan.end(signal.SIGKILL)
    lost = page.status()
    assert (lost["state"], lost["holder"]) == ("lost", None)
    assert "xrm-sims recover" in page.ask("/")[2].decode()
    assert "stop" not in last_journal(data)  # it only looked


def test_what_is_refused(data, page_on):
    page = page_on(data)
    assert page.ask("/", "POST")[0] == 501
    assert page.ask("/", "DELETE")[0] == 501
    assert page.ask("/../settings.toml")[0] == 404
    assert page.ask("/", Host="evil.example")[0] == 403
    assert page.ask("/", "HEAD")[::2] == (200, b"")


def test_a_night_that_is_over(tmp_path, page_on, command):
    data = make_data_root(tmp_path / "data")
    (tmp_path / "sheet.toml").write_text(
        "title = 'All <b>'\n[[samples]]\nname = 'A'\n[[steps]]\ndo = 'se_image'\nfov_um = 20.0\nshape = [16, 16]\n"
    )
    assert command("night", tmp_path / "sheet.toml", "--data", data).code == 0
    page = page_on(data)
    status = page.status()
    assert (status["state"], status["night"]["state"], status["night"]["safe"]) == ("idle", "done", True)
    assert status["run"]["exit_status"] == "success"
    text = page.ask("/")[2].decode()
    assert "<h2>All &lt;b&gt;: done</h2>" in text
    assert "<b>" not in text
    assert page.ask("/picture.png")[0] == 200


def test_the_command(data, launch, command):
    command("tomography", *SHORT, "--data", data)
    server = launch("watch", "--port", "0", "--data", data)
    line = server.popen.stdout.readline().decode()
    port = int(re.search(r"http://127.0.0.1:(\d+)/", line)[1])
    assert Page(port).status()["run"]["taken"] == 3
    assert re.search(f"port {port} on 127.0.0.1 cannot be used", command("watch", "--port", port, "--data", data).err)
    ended = server.end(signal.SIGINT)
    assert (ended.code, ended.err) == (0, "stopped\n")
