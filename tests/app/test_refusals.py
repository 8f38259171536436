"""Bad input: one sentence on stderr, a non-zero exit, nothing moved and nothing written."""

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from urllib.parse import urlparse

import bluesky.plan_stubs as bps
import pytest
from bluesky.utils import FailedStatus

from devices.interlocks import InterlockError
from plans import tomography
from tests.app.conftest import SHORT, is_safe, last_journal, make_data_root, twin_values
from xrm_sims.app.common.errors import sentence
from xrm_sims.app.session.session import open_session

NOBODY = 65534


@pytest.fixture(scope="module")
def measured(shared_data):
    """A data root with one tomogram in it; its uid."""
    with open_session(shared_data, seed=1) as session:
        uid = session.run(tomography(session.scope, num=3, step_deg=120, binning=8, num_dark=1, num_flat=1))
    return shared_data, uid


def everything_in(folder):
    parts = ("frames", "journal")
    return sorted(str(path) for part in parts for path in (folder / part).rglob("*"))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["tomography", "--sample", "foo"], "sample: there is no 'foo'; known are cathode_pillar"),
        (["tomography", "--seed", "2"], "cathode_pillar of seed 1 is mounted .* leave out seed and sample .* fresh"),
        (["tomography", "--seed", "-1"], "seed: needs a whole number from 0 on, got -1"),
        (["tomography", "--exposure-s", "-1"], "exposure_s: needs a number above 0, got -1"),
        (["tomography", "--exposure-s", "nan"], "exposure_s: needs a finite number, got nan"),
        (["tomography", "--step-deg", "0"], "step_deg: needs a step other than 0 degrees"),
        (["tomography", "--binning", "3"], "binning: needs .*got 3"),
        (["tomography", "--target", "Au"], "target: needs one of W, Cu, Cr, got 'Au'"),
        (["tomography", "--clock", "lunar"], "clock: needs fast, real or a factor"),
        (["tomography", "--clock", "0"], "clock: needs .*got 0"),
        (["sims", "--fov-um", "5000"], "5000 um.* field"),
        (["sims", "--bias-v", "0"], "bias_v: SIMS needs the stage bias on"),
        (["sims", "--dwell-ms", "nan"], "dwell_ms: .*nan"),
        (["sims", "--pixels", "0"], "shape|rows|pixels"),
    ],
)
def test_a_measurement_that_cannot_be_done(measured, command, args, told):
    data, _ = measured
    before, files = twin_values(data), everything_in(data)
    ended = command(*args, "--data", data)
    assert ended.code == 1
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("xrm-sims: ")
    assert re.search(told, line), line
    assert twin_values(data) == before
    assert everything_in(data) == files
    assert is_safe(data)


def test_preflight_says_what_is_refused(measured, command):
    data, _ = measured
    ended = command("sims", "--bias-v", "0", "--preflight", "--data", data)
    assert ended.code == 1
    assert "sims_raster: refused" in ended.out
    fine = command("tomography", *SHORT, "--preflight", "--data", data)
    assert fine.code == 0
    assert "of instrument time" in fine.out


def test_an_unknown_sample_makes_no_data_root(tmp_path, command):
    ended = command("tomography", "--sample", "foo", "--data", tmp_path / "new")
    assert ended.code == 1
    assert not (tmp_path / "new").exists()


def test_a_data_root_that_cannot_be_one(tmp_path, command):
    (tmp_path / "file").write_text("")
    ended = command("tomography", "--data", tmp_path / "file" / "data")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "its folder cannot be used (Not a directory)" in ended.err


def test_a_data_root_that_cannot_be_written(command):
    command("tomography", "--help")  # whatever is imported must be imported by whoever may read it
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # root may write everywhere
        os.seteuid(NOBODY)
    try:
        ended = command("tomography", "--data", folder / "data")
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)
    assert ended.code == 1
    assert "(Permission denied)" in ended.err


@pytest.mark.parametrize("name", ["reconstruct", "recover", "serve"])
def test_a_data_root_that_is_not_there(tmp_path, command, name):
    ended = command(name, *(["abcdef"] if name == "reconstruct" else []), "--data", tmp_path / "none")
    assert ended.code == 1
    assert f"data root {tmp_path / 'none'} does not exist" in ended.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["reconstruct", "resolution", "live", "recover", "serve"])
def test_a_folder_that_is_no_data_root_is_left_alone(tmp_path, command, name):
    (tmp_path / "letters.txt").write_text("Dear Sir")
    ended = command(name, *(["abcdef"] if name not in ("recover", "serve") else []), "--data", tmp_path)
    assert ended.code == 1
    assert f"data root {tmp_path} holds no runs" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_settings_that_are_none(tmp_path, command):
    data = make_data_root(tmp_path / "data")
    (data / "settings.toml").write_text("[surface]\npitch_um = 'wide'\n")
    ended = command("tomography", "--data", data)
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "surface.pitch_um" in ended.err


@pytest.mark.parametrize(
    ("args", "told"),
    [(["tomography", "--angles", "3"], "--angles"), (["sims", "--frames", "many"], "--frames"), (["fly"], "fly")],
)
def test_a_wrong_option_is_a_usage_error(command, args, told):
    ended = command(*args)
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_run_that_is_not_there(measured, command):
    data, uid = measured
    ended = command("reconstruct", "deadbeef", "--data", data)
    assert ended.code == 1
    assert ended.err == f"xrm-sims: run 'deadbeef' is not in the catalogue {data}; latest is {uid}\n"


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_frame_file_that_is_lost(measured, command, damage):
    data, uid = measured
    resources = last_journal(data)["stream_resource"]
    (path,) = [Path(urlparse(doc["uri"]).path) for doc in resources if "primary" in doc["uri"]]
    kept = path.with_suffix(".kept")
    shutil.copy(path, kept)
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    try:
        ended = command("reconstruct", uid[:8], "--data", data)
    finally:
        shutil.move(kept, path)
    assert ended.code == 1
    assert ended.out == ""
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert f"frames file {path}" in last
    assert damage in last
    assert "frame" in last.partition(str(path))[2]


def test_a_port_that_is_taken(measured, command):
    data, _ = measured
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ended = command("serve", "--data", data, "--port", port)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(f"xrm-sims: port {port} on 127.0.0.1 cannot be used")


def test_a_target_move_through_the_specimen(data):
    with open_session(data) as session:
        target = session.scope.target
        for x_um in (-100.0, 0.0):
            with pytest.raises(InterlockError, match=r"move the target back along x first"):
                session.run(bps.mv(target.x_um, x_um))
        assert target.x_um.get() == session.settings.target.park_x_um
    assert is_safe(data)


def test_a_failing_driver_speaks_for_itself(data, monkeypatch):
    def arcs():
        raise RuntimeError("widepix: the high voltage arced")

    with open_session(data) as session:
        monkeypatch.setattr(session.drivers.widepix, "expose", arcs)
        with pytest.raises(FailedStatus) as failure:
            session.run(tomography(session.scope, num=2, step_deg=180, binning=8))
    assert sentence(failure.value) == "widepix: the high voltage arced"
    assert is_safe(data)
    assert last_journal(data)["stop"][0]["exit_status"] == "fail"
