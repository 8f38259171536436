"""Beam current, vacuum and detector temperature out of bounds: blank, wait, go on, and say so."""

import threading

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from plans import mill, tomography
from plans.stubs import Msg
from tests.app.conftest import last_journal
from xrm_sims.app.session.session import open_session
from xrm_sims.data.frames import read_frames
from xrm_sims.patterns import Rectangle
from xrm_sims.settings import Settings, SurfaceGrid

SETTINGS = Settings(surface=SurfaceGrid(pitch_um=0.4, milling_columns=16))
OUTAGE_S = 600.0
SHORT = {
    "num": 4,
    "step_deg": 90.0,
    "exposure_s": 90.0,
    "binning": 8,
    "num_dark": 1,
    "num_flat": 1,
    "flat_every": 0,
    "reference_every": 0,
}


@pytest.fixture
def session(tmp_path):
    with open_session(tmp_path / "data", seed=1, settings=SETTINGS) as session:
        yield session


def when(session, stream, index, act):
    """Do something once, when the plan is about to ask for a frame."""
    done = []

    def look(msg):
        if not done and msg.command == "prepare" and msg.args == ((stream, index),):
            done.append(True)
            act(session.drivers.instrument.get("time_s"))

    session.RE.msg_hook = look


def safe(session):
    """What the hardware says."""
    twin = session.drivers
    blanked = twin.beam.get("blanked") and twin.fib.get("blanked")
    return blanked and twin.target.get("x_um") == SETTINGS.target.park_x_um


def events(documents, stream):
    (descriptor,) = [d for d in documents["descriptor"] if d["name"] == stream]
    found = {d["seq_num"]: d for d in documents["event"] if d["descriptor"] == descriptor["uid"]}
    return [found[number]["data"] for number in sorted(found)]


def projections(documents):
    (descriptor,) = [d for d in documents["descriptor"] if d["name"] == "primary"]
    datums = [d for d in documents["stream_datum"] if d["descriptor"] == descriptor["uid"]]
    (resource,) = [d for d in documents["stream_resource"] if d["uid"] == datums[0]["stream_resource"]]
    return np.concatenate([frames for _, frames in read_frames(resource, datums)])


@pytest.mark.parametrize(
    ("reading", "value", "sentence"),
    [
        ("chamber_pressure_pa", 1.0, "chamber pressure 1 Pa is above 0.01 Pa"),
        ("measured_current_na", 20.0, "beam current 20 nA is below 200 nA"),
        ("temperature_c", 60.0, "detector temperature 60.0 degC is above 45 degC"),
    ],
)
def test_the_frame_under_way_is_taken_again_when_all_is_well(session, reading, value, sentence, caplog):
    """The failure begins with the exposure of view 1 and lasts ten minutes of twin time, which cost no wall time."""
    seen = []

    def fail(now_s):
        session.drivers.disturb(reading, value, start_s=now_s + 1.0, stop_s=now_s + OUTAGE_S)
        seen.append(now_s)

    when(session, "primary", 1, fail)
    session.run(tomography(session.scope, **SHORT))
    documents = last_journal(session.data)
    assert documents["stop"][0]["exit_status"] == "success"
    assert session.recorder.behind == set()  # the catalogue took the stream too
    (suspension,) = events(documents, "suspensions")
    assert suspension["suspension_reason"] == sentence
    assert seen[0] <= suspension["suspension_began_s"] <= seen[0] + 100 + SHORT["exposure_s"]
    settled_s = seen[0] + OUTAGE_S + SETTINGS.suspension.settle_s
    assert settled_s <= suspension["suspension_ended_s"] <= settled_s + 3 * SETTINGS.suspension.poll_s
    views = events(documents, "primary")
    assert [view["rotation_angle_deg"] for view in views] == [0.0, 90.0, 180.0, 270.0]
    assert views[0]["instrument_time_s"] < seen[0] < settled_s < views[1]["instrument_time_s"]
    assert min(view["beam_current_na"] for view in views) > 380.0
    counts = projections(documents).reshape(4, -1).sum(axis=1)
    assert counts.min() > 0.9 * counts.max()  # none of them is the dim frame of a failing beam
    assert [record.message.split(":")[0] for record in caplog.records if record.name.startswith("xrm_sims")] == [
        "suspended",
        f"resumed after {suspension['suspension_ended_s'] - suspension['suspension_began_s']:.0f} s of instrument time",
    ]
    # no electrons fell while nothing was measured: five frames, of which one twice, and the moves between them
    lit_s = session.drivers.beam.get("target_charge_c") / 400e-9
    assert lit_s < 7 * SHORT["exposure_s"] + 120
    assert safe(session)


def test_both_beams_are_blanked_meanwhile(session):
    blanked = []

    def look(*_):
        if session.drivers.instrument.get("chamber_pressure_pa") > 0.1:
            values = session.drivers.beam.get("blanked"), session.drivers.fib.get("blanked")
            blanked.append(values)

    when(
        session,
        "primary",
        1,
        lambda now: session.drivers.disturb("chamber_pressure_pa", 1.0, start_s=now, stop_s=now + 100.0),
    )
    let_pass = session.drivers.instrument.let_pass

    def watched(seconds):
        look()
        let_pass(seconds)

    session.drivers.instrument.let_pass = watched
    session.run(tomography(session.scope, **SHORT))
    assert blanked
    assert set(blanked) == {(True, True)}


def test_a_milling_pass_is_not_repeated(session):
    def fail(name, doc):
        if name == "event" and "fib_dose_nc" in doc["data"] and "mode" not in doc["data"] and doc["seq_num"] == 1:
            now_s = doc["data"]["instrument_time_s"]
            session.drivers.disturb("chamber_pressure_pa", 1.0, start_s=now_s, stop_s=now_s + OUTAGE_S)

    pattern = Rectangle(size_um=(5.0, 5.0), depth_um=0.2, passes=3)
    session.run(mill(session.scope, pattern), fail)
    documents = last_journal(session.data)
    assert len(events(documents, "suspensions")) == 1
    doses = [event["fib_dose_nc"] for event in events(documents, "primary")]
    np.testing.assert_allclose(np.diff(doses), doses[0], rtol=1e-6)


def test_a_failure_that_does_not_end_fails_the_plan(tmp_path):
    patience = SETTINGS.suspension.model_copy(update={"give_up_s": 600.0})
    impatient = SETTINGS.model_copy(update={"suspension": patience})
    with open_session(tmp_path / "data", seed=1, settings=impatient) as session:
        when(session, "primary", 1, lambda now: session.drivers.disturb("temperature_c", 90.0, start_s=now, stop_s=1e9))
        with pytest.raises(RuntimeError, match=r"suspended for 0\.16\d h and still detector temperature 90\.0 degC"):
            session.run(tomography(session.scope, **SHORT))
        documents = last_journal(session.data)
        assert safe(session)
    assert documents["stop"][0]["exit_status"] == "fail"
    assert len(events(documents, "primary")) == 1


def test_pausing_and_resuming_a_suspended_plan_leaves_it_suspended(session):
    scope, twin = session.scope, session.drivers
    disturbances = twin._simulator.disturbances
    let_pass = twin.instrument.let_pass
    waiting = threading.Event()
    when(session, "primary", 1, lambda now: twin.disturb("temperature_c", 90.0, start_s=now, stop_s=1e9))

    def count(seconds):
        let_pass(seconds)
        if not waiting.is_set():
            waiting.set()
            threading.Thread(target=session.RE.request_pause).start()

    twin.instrument.let_pass = count
    with pytest.raises(RunEngineInterrupted):
        session.RE(tomography(scope, **SHORT))
    assert session.RE.state == "paused"
    assert scope.beam.blanked.get() is True
    lit = []

    def cool_down(seconds):
        lit.append(not scope.drivers.beam.get("blanked"))
        disturbances.clear()
        let_pass(seconds)

    twin.instrument.let_pass = cool_down
    session.RE.resume()
    assert lit
    assert not any(lit)
    documents = last_journal(session.data)
    assert len(events(documents, "primary")) == 4
    assert len(events(documents, "suspensions")) == 1
    counts = projections(documents).reshape(4, -1).sum(axis=1)
    assert counts.min() > 0.9 * counts.max()  # the beam came back with the plan


def test_a_plan_begins_when_all_is_well(session):
    now_s = session.drivers.instrument.get("time_s")
    session.drivers.disturb("chamber_pressure_pa", 1.0, start_s=now_s, stop_s=now_s + OUTAGE_S)

    def plan():
        yield from bps.checkpoint()
        return (yield from bps.rd(session.scope.time_s))

    assert session.run(plan()) >= now_s + OUTAGE_S + SETTINGS.suspension.settle_s


def test_by_hand_nothing_is_suspended(session):
    session.drivers.disturb("chamber_pressure_pa", 1.0, start_s=0.0, stop_s=1e9)
    session.scope.widepix.stage()
    session.scope.widepix.trigger().wait()
    session.scope.widepix.unstage()


def test_abort_all_from_another_thread_ends_a_plan_with_everything_safe(session, capsys):
    said = []

    def press(msg):
        if msg.command == "prepare" and msg.args == (("primary", 2),) and not said:
            said.append("")
            button = threading.Thread(target=lambda: said.extend(session.abort_all()))
            button.start()
            buttons.append(button)

    buttons = []
    session.RE.msg_hook = press
    with pytest.raises(RunEngineInterrupted):
        session.RE(tomography(session.scope, **SHORT))
    buttons[0].join()
    assert "electron beam: found on, now blanked" in said
    assert session.RE.state == "idle"
    assert last_journal(session.data)["stop"][0]["exit_status"] == "abort"
    assert safe(session)


def test_abort_all_without_a_plan(session):
    session.scope.target.x_um.put(-400.0)
    session.scope.beam.blanked.put(False)
    assert session.abort_all() == [
        "electron beam: found on, now blanked",
        "target: stood at x = -400 um, now parked at x = -8000 um",
    ]
    assert session.abort_all() == []
    assert safe(session)


def test_abort_all_ends_a_paused_plan(session):
    with pytest.raises(RunEngineInterrupted):
        session.RE(msg for part in (bps.open_run(), [Msg("checkpoint")], bps.pause()) for msg in part)
    assert session.abort_all("enough")[-1:] == ["plan: aborted"]
    assert last_journal(session.data)["stop"][0]["reason"] == "enough"
