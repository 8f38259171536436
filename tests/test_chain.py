"""The whole chain with real parts: twin, devices, RunEngine, HDF5, Tiled, databroker, reconstruction."""

from __future__ import annotations

from threading import Thread

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from event_model import DocumentNames, schema_validators

import plans
import recon
from xrm_sims.app.session.session import open_session
from xrm_sims.data import documents, find_run, open_catalog, read_counts
from xrm_sims.data.frames import resource_path
from xrm_sims.settings import Motion, Settings

NUM = 24
SCAN = {"num": NUM, "step_deg": 15.0, "binning": 8, "num_dark": 1, "num_flat": 2, "reference_every": 12}
STILL = Settings(motion=Motion(drift_nm_per_h=0.0, thermal_drift_um=0.0, runout_nm=0.0))


@pytest.fixture
def session(tmp_path):
    with open_session(tmp_path / "data", seed=3, settings=STILL) as opened:
        yield opened


def pause_and_resume(engine: RunEngine, plan, after: int):
    """Run a plan, pause it hard when projection ``after`` is out, and go on."""
    seen: list[int] = []

    def watch(name, doc):
        if name == "event" and "rotation_angle_deg" in doc["data"]:
            seen.append(doc["seq_num"])
            if len(seen) == after:
                Thread(target=engine.request_pause, kwargs={"defer": False}).start()  # as a signal would

    token = engine.subscribe(watch)
    with pytest.raises(RunEngineInterrupted):
        engine(plan)
    assert engine.state == "paused"
    engine.unsubscribe(token)
    return engine.resume()


def test_a_pause_neither_loses_nor_doubles_an_angle(session):
    whole = session.run(plans.tomography(session.scope, **SCAN))
    paused = pause_and_resume(session.RE, plans.tomography(session.scope, **SCAN), after=9)[0]
    session.recorder.flush()
    broker = open_catalog(session.data).v1
    scans = []
    for uid in (whole, paused):
        consumer = recon.TomographyConsumer()
        for name, doc in broker[uid].documents():
            consumer(name, doc)
        scans.append(consumer.scan())
    for scan in scans:
        assert len(scan.projections) == NUM
        np.testing.assert_allclose(scan.geometry.angles_deg, 15.0 * np.arange(NUM), atol=1e-9)
    # the same specimen at the same angles: all that differs is counting noise
    first, second = (scan.projections.read().astype(float) for scan in scans)
    chi_square = ((first - second) ** 2 / np.maximum(first + second, 1)).mean()
    assert chi_square == pytest.approx(1.0, abs=0.15)
    volume = recon.from_run(broker[paused], sweeps=1, correct=False).volume
    assert volume.shape == scans[0].geometry.volume_shape
    assert np.isfinite(volume).all()


def test_every_reader_gets_the_same_frames(session, tmp_path):
    uid = session.run(plans.tomography(session.scope, **SCAN))
    session.recorder.flush()
    by_broker, start = read_counts(uid, "widepix_image", session.data)
    assert start["scan_type"] == "tomography"
    resources = {doc["uid"]: doc for name, doc in documents(uid, session.data) if name == "stream_resource"}
    files = {resource_path(doc) for doc in resources.values()}
    assert len(files) == 4  # dark, flat, reference, primary
    sizes = {}
    for path in files:
        with h5py.File(path, "r") as file:
            frames = file["/entry/data/data"][:]
            sizes[len(frames)] = frames
    np.testing.assert_array_equal(sizes[NUM], by_broker)
    by_tiled = find_run(uid, session.data)["primary"]["widepix_image"].read()
    np.testing.assert_array_equal(np.asarray(by_tiled).reshape(by_broker.shape), by_broker)


def test_documents_of_every_plan_are_valid(session):
    """Each document as the RunEngine gives it, against event-model's schema."""
    from xrm_sims.patterns import Rectangle

    runs: list[tuple[str, dict]] = []
    token = session.RE.subscribe(lambda name, doc: runs.append((name, dict(doc))))
    scope = session.scope
    session.run(plans.tomography(scope, **SCAN | {"num": 2}))
    session.run(plans.se_image(scope, fov_um=50.0, shape=(32, 32), source="ion"))
    session.run(plans.mill(scope, Rectangle(size_um=(4.0, 4.0), depth_um=0.2, passes=2)))
    session.run(plans.sims_raster(scope, fov_um=4.0, shape=(32, 32), frames=2))
    session.run(plans.eds_map(scope, elements=("Ni", "Co", "C"), fov_um=50.0, shape=(16, 16)))
    session.RE.unsubscribe(token)
    for name, doc in runs:
        schema_validators[DocumentNames[name]].validate(doc)
    starts = [doc for name, doc in runs if name == "start"]
    assert [doc["scan_type"] for doc in starts] == ["tomography", "se_image", "milling", "sims_raster", "eds_map"]
    assert {doc["exit_status"] for name, doc in runs if name == "stop"} == {"success"}
    assert all("versions" in doc and "operator" in doc for doc in starts)


def test_an_exception_leaves_both_beams_blanked_and_the_target_parked(session):
    with pytest.raises(KeyError):
        session.RE(failing(plans.tomography(session.scope, **SCAN), after=8))
    assert session.drivers.beam.get("blanked")
    assert session.drivers.fib.get("blanked")
    assert session.drivers.target.get("x_um") <= session.settings.target.park_x_um


def failing(plan, after: int):
    """The plan, with an exception of the user's own at its exposure number ``after``."""
    exposures = 0
    go_on, with_what = plan.send, None
    while True:
        try:
            message = go_on(with_what)
            if message.command == "trigger" and (exposures := exposures + 1) == after:
                message = plan.throw(KeyError("something in the user's own code"))
        except StopIteration:
            return
        try:
            go_on, with_what = plan.send, (yield message)
        except Exception as error:  # what the RunEngine answers to a message is the plan's to hear
            go_on, with_what = plan.throw, error
