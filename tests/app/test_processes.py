"""What a command leaves when its process is stopped or killed, and what others may do meanwhile."""

import signal

import pytest

from tests.app.conftest import (
    SHORT,
    events_by_stream,
    frames_on_disk,
    is_safe,
    last_journal,
    make_data_root,
    own_lines,
    twin_values,
)
from xrm_sims.app.session.session import open_session
from xrm_sims.data import documents, find_run

ENDLESS = ["tomography", "--num", "10000", "--step-deg", "0.03", "--binning", "8", "--exposure-s", "90"]
A_FEW_TAKEN = r"[1-9]\d*/10000"


@pytest.fixture(scope="module")
def killed(tmp_path_factory, launch):
    """A data root whose tomography was killed after a few projections; what a second process was told before."""
    data = make_data_root(tmp_path_factory.mktemp("killed") / "data")
    running = launch(*ENDLESS, "--data", data)
    running.until(A_FEW_TAKEN)
    second = launch("sims", "--data", data).end()
    healthy = launch("doctor", "--data", data).end()
    assert running.popen.poll() is None
    running.end(signal.SIGKILL)
    return data, running.popen.pid, second, healthy


def test_a_second_process_is_refused_by_name(killed):
    data, pid, second, _ = killed
    assert second.code == 1
    assert second.out == ""
    (line,) = second.err.splitlines()
    assert line.startswith(f"xrm-sims: instrument {data / 'twin'}: held by ")
    assert f"pid {pid} on " in line


def test_the_doctor_works_meanwhile(killed):
    _, pid, _, healthy = killed
    assert f"pid {pid}" in healthy.out
    assert "[ok] data root" in healthy.out
    assert healthy.err == ""


def test_a_kill_leaves_everything_as_it_stood_and_recover_puts_it_in_order(killed, command):
    data = killed[0]
    left = twin_values(data)
    assert left["beam"]["blanked"] is False
    assert left["target"]["x_um"] == -400.0
    lost = last_journal(data)
    assert "stop" not in lost
    uid, taken = lost["start"][0]["uid"], events_by_stream(lost)
    assert taken["primary"] > 0

    ended = command("recover", "--data", data)
    assert ended.code == 0
    assert "electron beam: was on, now blanked" in ended.out
    assert f"run closed as interrupted, its data are kept: tomography {uid}" in ended.out
    assert "target: stood at x = -400 um, now parked at x = -8000 um" in ended.out
    assert "1 runs written from the journal" in ended.out
    assert is_safe(data)

    now = last_journal(data)
    assert now["stop"][0]["exit_status"] == "fail"
    kept = [(name, doc) for name, doc in documents(uid, data)]
    catalogued = {}
    for name, doc in kept:
        catalogued.setdefault(name, []).append(doc)
    assert events_by_stream(catalogued) == taken | {"baseline": 2}  # how recovery found the instrument
    frames = frames_on_disk(now)
    assert all(frames[stream] >= taken[stream] for stream in frames)

    again = command("recover", "--data", data)
    assert again.out.splitlines() == [
        "beams: both were blanked",
        "target: was parked at x = -8000 um",
        "catalogue: complete",
    ]
    after = command("tomography", *SHORT, "--data", data)
    assert after.code == 0
    assert own_lines(after.err) == []
    newest = last_journal(data)
    assert after.out == newest["start"][0]["uid"] + "\n"
    assert newest["start"][0]["scan_id"] == lost["start"][0]["scan_id"] + 1


def test_a_killed_raster_is_put_in_order_by_the_next_session(data, launch, capsys):
    running = launch("sims", "--pixels", "64", "--frames", "1000", "--data", data)
    running.until(r"[1-9]\d*/1000\b")
    running.end(signal.SIGKILL)
    lost = last_journal(data)
    uid = lost["start"][0]["uid"]
    collected = sum(doc["indices"]["stop"] - doc["indices"]["start"] for doc in lost["stream_datum"])
    with open_session(data) as session:
        told = capsys.readouterr().err
        assert f"run {uid} never ended; recovering" in told
        assert session.drivers.fib.get("blanked") is True
        assert find_run(uid, data).metadata["stop"]["exit_status"] == "fail"
        assert frames_on_disk(last_journal(data))["primary"] >= collected > 0
    assert is_safe(data)
    with open_session(data):
        assert capsys.readouterr().err == ""


def test_one_ctrl_c_ends_a_tomography(data, launch):
    running = launch(*ENDLESS, "--data", data)
    running.until(A_FEW_TAKEN)
    ended = running.end(signal.SIGINT)
    stopped = last_journal(data)
    uid = stopped["start"][0]["uid"]
    assert ended.code == 130
    assert ended.out == ""
    sentence = f"xrm-sims: stopped: beams blanked, target parked, what was acquired is kept in run {uid}"
    assert own_lines(ended.err) == [sentence]
    assert "Traceback" not in ended.err
    assert stopped["stop"][0]["exit_status"] == "abort"
    taken = events_by_stream(stopped)
    frames = frames_on_disk(stopped)
    assert all(frames[stream] >= taken[stream] > 0 for stream in frames)
    assert is_safe(data)


def test_a_polite_kill_cuts_an_exposure_short(data, launch):
    """In real time the first dark would take 1,000 s."""
    running = launch("tomography", "--exposure-s", "1000", "--clock", "real", "--data", data)
    running.until(r"0/1200")
    ended = running.end(signal.SIGTERM)
    assert ended.code == 130
    assert len(own_lines(ended.err)) == 1
    stopped = last_journal(data)
    assert stopped["stop"][0]["exit_status"] == "abort"
    assert events_by_stream(stopped).get("dark", 0) == 0
    assert is_safe(data)


def test_a_lost_terminal_ends_a_tomography_safely(data, launch):
    running = launch("tomography", "--exposure-s", "1000", "--clock", "real", "--data", data)
    running.until(r"0/1200")
    running.popen.stderr.close()
    running.popen.send_signal(signal.SIGHUP)
    assert running.popen.wait() == 130
    running.popen.stdout.close()
    assert last_journal(data)["stop"][0]["exit_status"] == "abort"
    assert is_safe(data)


def test_ctrl_c_ends_a_reconstruction(shared_data, command, launch):
    uid = command("tomography", "--num", "40", "--step-deg", "9", "--binning", "8", "--data", shared_data).out.strip()
    running = launch("reconstruct", uid, "--sweeps", "100000", "--data", shared_data)
    running.until(r"%")
    ended = running.end(signal.SIGINT)
    assert ended.code == 130
    assert own_lines(ended.err) == ["xrm-sims: interrupted"]
    assert "Traceback" not in ended.err


def test_the_catalogue_is_served_beside_a_session(data, launch, command):
    with open_session(data) as session:
        server = launch("serve", "--port", "0", "--data", data)
        address = server.popen.stdout.readline().decode()
        assert address.startswith(f"Browse {data} at http://127.0.0.1:")
        assert "catalogue is served at http://127.0.0.1:" in command("doctor", "--data", data).out
        assert len(session.catalog) == 0  # through that server
    ended = server.end(signal.SIGINT)
    assert ended.code == 0
    assert ended.err == "stopped\n"
