import os
import signal
import threading

import bluesky.plan_stubs as bps
import pytest

from plans.stubs import in_background
from tests.app.conftest import is_safe, last_journal
from xrm_sims.app.common.signals import Interrupted, stop_here
from xrm_sims.app.session.metadata import KeptMetadata
from xrm_sims.app.session.session import open_session


def small_run():
    uid = yield from bps.open_run()
    yield from bps.close_run()
    return uid


def test_what_the_run_engine_knows_outlives_the_session(data):
    for scan_id in (1, 2):
        with open_session(data, operator="Ada") as session:
            session.run(small_run())
            session.RE.md.setdefault("proposal", {})["number"] = 7
            session.RE.md.flush()
        start = last_journal(data)["start"][0]
        assert start["scan_id"] == scan_id
        assert start["operator"] == "Ada"
        assert start["versions"].keys() >= {"bluesky", "numpy", "xrm-sims", "python"}
    assert start["proposal"] == {"number": 7}


def test_metadata_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "run_engine.json"
    path.write_text('{"scan_id": ')
    with pytest.raises(ValueError, match="is not a JSON table; correct it or move it away"):
        KeptMetadata(path)


def test_a_deleted_key_is_gone(tmp_path):
    KeptMetadata(tmp_path / "md.json").update(a=1, b=2)
    del KeptMetadata(tmp_path / "md.json")["a"]
    assert dict(KeptMetadata(tmp_path / "md.json")) == {"b": 2}


def test_a_second_session_in_this_process_is_refused_too(data):
    with open_session(data), pytest.raises(RuntimeError, match=f"held by .*pid {os.getpid()}"):
        open_session(data)
    open_session(data).close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_run_that_waits_for_a_computation(data, number, capsys):
    release = threading.Event()

    def compute():
        os.kill(os.getpid(), number)
        release.wait()

    def plan():
        yield from bps.open_run()
        yield from in_background(compute)

    with open_session(data) as session:
        handler = signal.getsignal(number)
        try:
            with pytest.raises(Interrupted, match="what was acquired is kept in run"):
                session.run(plan())
        finally:
            release.set()
        assert signal.getsignal(number) is handler
        assert session.RE.state == "idle"
        assert session.run(small_run())  # the session is as good as before
    assert capsys.readouterr().out == ""
    assert is_safe(data)


def test_leaving_with_a_paused_run_ends_it(data):
    session = open_session(data)
    with pytest.raises(Exception, match="paused"):
        session.RE(msg for plan in (bps.open_run(), bps.pause()) for msg in plan)
    session.close()
    session.close()
    assert last_journal(data)["stop"][0]["exit_status"] == "abort"


def test_a_second_ctrl_c_hides_nothing_of_what_the_first_brought():
    def impatient():
        try:
            raise Interrupted("stopped: beams blanked")
        finally:
            stop_here()

    with pytest.raises(Interrupted, match="beams blanked"):
        impatient()
