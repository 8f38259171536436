"""What a colleague finds in a browser and with clients that are none of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.app.browser import Browser
from tests.data.conftest import recording
from tests.programs import installed
from xrm_sims.data import results
from xrm_sims.data.catalog import disconnect
from xrm_sims.data.layout import Layout
from xrm_sims.data.server import TiledServer

rng = np.random.default_rng(11)
VOLUME = rng.random((6, 40, 48), dtype=np.float32)
ROIS = [{"number": 1, "kind": "pore", "diameter_um": 1.5}, {"number": 2, "kind": "crack", "diameter_um": 4.0}]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Two runs and what was computed from the first, behind a server."""
    data = Layout.of(tmp_path_factory.mktemp("served") / "data").root
    about = {"scan_type": "tomography", "sample_name": "LCO/NCA cathode"}
    with recording(data) as run:
        runs = [run(3, about | {"operator": name}) for name in ("Ada <3", "Grace")]
    results.save(data, runs[0], "volume", {"volume": VOLUME}, {"units": "1/um", "axes": ["z", "y", "x"]})
    results.save(data, runs[0], "rois", tables={"rois": ROIS})
    disconnect(data)
    with TiledServer(data) as server:
        yield server, runs


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = installed("chromium", "chromium", "chromium-browser", "google-chrome")
    page = Browser(program, tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


def text(browser):
    return browser.evaluate("document.body.innerText")


def test_the_web_page_lists_runs_and_shows_a_volume(served, browser, tmp_path):
    server, (first, _) = served
    base = server.url.partition("?")[0]
    shots = Path(os.environ.get("XRM_SIMS_SHOTS", tmp_path))
    browser.open(server.url)
    browser.until("document.body.innerText.includes('results')")
    browser.open(f"{base}browse/runs")
    browser.until("document.body.innerText.includes('2 runs')")
    rows = browser.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(row => row.innerText.split('\\t').slice(1, 6))"
    )
    assert rows == [["tomography", "LCO/NCA cathode", who, "3", "done"] for who in ("Grace", "Ada <3")]
    browser.screenshot(shots / "runs.png", 1280)

    browser.evaluate(TYPE % ("operator", "Ada"))
    browser.until("document.body.innerText.includes('1 run') && !document.body.innerText.includes('Grace')")
    assert browser.evaluate("document.querySelector('tbody a').getAttribute('href')").endswith(first)

    browser.open(f"{base}browse/runs/{first}")
    browser.until("document.body.innerText.includes('rois') && document.body.innerText.includes('primary')")
    assert "tomography: LCO/NCA cathode" in text(browser)
    assert "Ada <3" in text(browser)
    browser.screenshot(shots / "run.png", 1280)

    browser.open(f"{base}browse/results/{first}/volume/volume")
    browser.until("document.querySelector('canvas')?.width == 48")
    shown = browser.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 48, 40).data]")
    plane = VOLUME[len(VOLUME) // 2]
    expected = 255 * (plane - plane.min()) / (plane.max() - plane.min())
    assert np.abs(np.array(shown).reshape(40, 48, 4)[..., 0] - expected).max() < 1
    browser.screenshot(shots / "volume.png", 1280)

    browser.open(f"{base}browse/results/{first}/rois/rois")
    browser.until("document.body.innerText.includes('crack')")
    browser.open(f"{base}browse/results")
    browser.until("document.body.innerText.includes('volume rois')")


TYPE = """(() => {
  const field = document.querySelector('[name=%s]');
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, '%s');
  field.dispatchEvent(new Event('input', { bubbles: true }));
})()"""


FOREIGN = """
import json, sys
from tiled.client import from_uri
from tiled.queries import Eq, Like

address, first = sys.argv[1:]
client = from_uri(address)
runs = client["runs"]
found = runs.search(Like("start.sample_name", "%cathode%")).search(Eq("start.operator", "Grace"))
told = {"found": list(found), "tomographies": len(runs.search(Eq("start.scan_type", "tomography")))}
told["frames"] = len(runs[first]["primary"]["camera_image"].read())
told["plane"] = client["results"][first]["volume"]["volume"][2, ::2].tolist()
told["kinds"] = client["results"][first]["rois"]["rois"].read()["kind"].tolist()
broker = from_uri(address)["runs"].v1
told["latest"] = broker[-1].start["uid"]
told["operators"] = sorted(header.start["operator"] for header in broker(scan_type="tomography"))
print(json.dumps(told))
"""


def test_plain_clients_search_and_read(served):
    """Tiled's and databroker's, in a process that has never heard of this package."""
    server, (first, second) = served
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN, server.uri, first], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "found": [second],
        "tomographies": 2,
        "frames": 3,
        "plane": VOLUME[2, ::2].tolist(),
        "kinds": ["pore", "crack"],
        "latest": second,
        "operators": ["Ada <3", "Grace"],
    }
