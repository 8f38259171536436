"""Watching a scan from another process, which the scan never notices."""

import signal

import pytest
from matplotlib.image import imread

from tests.app.conftest import SHORT, last_journal

ENDLESS = ["tomography", "--num", "10000", "--step-deg", "0.03", "--binning", "8"]
A_FEW_TAKEN = r"[1-9]\d*/10000"


def test_viewers_come_and_go_and_the_scan_goes_on(data, tmp_path, launch):
    waiting = launch("live", "latest", "--every-s", "0", "--out", tmp_path / "waiting", "--data", data)
    waiting.until(f"no tomography is running in {data}; waiting for one to start")
    scan = launch(*ENDLESS, "--data", data)
    scan.until(A_FEW_TAKEN)
    killed = launch("live", "latest", "--every-s", "0", "--out", tmp_path / "killed", "--data", data)
    for viewer in (waiting, killed):
        viewer.until(A_FEW_TAKEN)
    assert killed.end(signal.SIGKILL).code == -signal.SIGKILL
    assert scan.popen.poll() is None
    scan.end(signal.SIGINT)
    ended = waiting.end()
    assert ended.code == 0, ended.err
    assert ended.out == f"{tmp_path / 'waiting' / 'live.png'}\n"
    assert imread(tmp_path / "waiting" / "live.png").std() > 0.05
    assert last_journal(data)["stop"][0]["exit_status"] == "abort"  # by the Ctrl-C, not by a viewer


def test_ctrl_c_ends_the_watching_alone(data, tmp_path, launch):
    scan = launch(*ENDLESS, "--data", data)
    scan.until(A_FEW_TAKEN)
    viewer = launch("live", "latest", "--out", tmp_path, "--data", data)
    viewer.until("watching run")
    ended = viewer.end(signal.SIGINT)
    assert ended.code == 130
    assert "xrm-sims: interrupted" in ended.err
    assert scan.popen.poll() is None
    scan.end(signal.SIGINT)


def test_a_run_that_has_ended_is_drawn_at_once(shared_data, tmp_path, command):
    uid = command("tomography", *SHORT, "--data", shared_data).out.strip()
    ended = command("live", uid[:8], "--out", tmp_path, "--data", shared_data)
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'live.png'}\n"), ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["live.png"]


@pytest.mark.parametrize(
    ("run", "sentence"),
    [("nothing-such", "run 'nothing-such': no such run in "), ("", "run '': more than one run begins so in ")],
)
def test_a_run_that_is_not_there(shared_data, tmp_path, command, run, sentence):
    for _ in range(2):
        command("tomography", *SHORT, "--data", shared_data)
    ended = command("live", run, "--out", tmp_path, "--data", shared_data)
    assert ended.code == 1
    assert sentence in ended.err
