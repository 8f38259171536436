"""Live reconstruction while a RunEngine takes a scan with the real devices on the twin."""

import threading
from contextlib import suppress

import numpy as np
import pytest
from bluesky import RunEngine

import recon
from devices import Instrument
from plans import tomography
from recon.live.live_volume import LiveVolume
from recon.live.run_follower import RunFollower
from recon.live.shift_prediction import ShiftPrediction
from xrm_sims.settings import Settings, SurfaceGrid
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin.microscope import Microscope

SEED = 2
COARSE = Settings(surface=SurfaceGrid(pitch_um=0.4, milling_columns=16))
SCAN = {"num": 96, "step_deg": 3.75, "binning": 8, "num_dark": 2, "num_flat": 5, "flat_every": 40}
SCAN |= {"reference_every": 24, "order": "interleaved"}
SECONDS = 120.0  # a hang is a failure, however slow the machine


@pytest.fixture(scope="module")
def scope(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    with Microscope(folder / "twin", seed=SEED, settings=COARSE) as twin:
        instrument = Instrument(twin, COARSE, folder / "frames")
        yield instrument
        instrument.close()


@pytest.fixture(scope="module")
def taken(scope):
    """One scan: its documents, the live reconstruction, and its progress and slices during the scan."""
    engine, documents, glimpses = RunEngine({}), [], []
    live = recon.LiveReconstruction()
    engine.subscribe(live)
    engine.subscribe(lambda name, doc: documents.append((name, doc)))
    engine.subscribe(lambda name, doc: glimpses.append((live.progress, live.slice)), "event")
    engine(tomography(scope, **SCAN))
    return documents, live.result(SECONDS), glimpses, live


@pytest.fixture(scope="module")
def truth():
    """Share of active material in each voxel (z, y, x)."""
    nz, n, voxel_um = 32, 160, COARSE.voxel_um * 8
    z, x = ((np.arange(m) - (m - 1) / 2) * voxel_um for m in (nz, n))
    offsets = voxel_um * np.array([-0.25, 0.25])
    pillar, share = CathodePillar(SEED), np.zeros((nz, n, n))
    for dz, dy, dx in np.stack(np.meshgrid(offsets, offsets, offsets), axis=-1).reshape(-1, 3):
        points = np.stack(np.meshgrid(z + dz, x + dy, x + dx, indexing="ij")[::-1], axis=-1)
        share += np.isin(pillar.material_at(points.reshape(-1, 3)), (1, 2, 3)).reshape(share.shape) / 8
    return share


def rms_error(volume, truth):
    """Return the error relative to the truth, whose scale (attenuation of the active material) is fitted."""
    inner = (slice(3, -3), slice(25, -25), slice(25, -25))
    v, t = volume[inner].astype(float), truth[inner]
    scale = (v * t).sum() / (t * t).sum()
    return np.sqrt(((v - scale * t) ** 2).mean()) / scale


def test_the_live_volume_is_as_good_as_the_one_made_afterwards(taken, truth):
    documents, made, _, _ = taken
    afterwards = recon.from_run(documents)
    assert rms_error(made.volume, truth) < 1.05 * rms_error(afterwards.volume, truth)
    assert made.geometry.num_views == SCAN["num"]
    assert made.uids == afterwards.uids
    np.testing.assert_array_equal(made.times_s, afterwards.times_s)
    difference = made.shifts_px - afterwards.shifts_px
    assert (difference - difference.mean(axis=0)).std(axis=0).max() < 0.3


def test_beam_hardening_is_corrected_before_the_run_ends(taken):
    documents, _, _, _ = taken
    follower = RunFollower(documents[0][1])
    for name, doc in documents[1:-1]:
        follower.arrivals(name, doc)
        if name == "event":
            with suppress(ValueError):  # no flats so far
                follower.advance()
    assert follower.volume._hardening is not None


def test_progress_and_slice_can_be_read_at_any_time(taken):
    _, made, glimpses, live = taken
    views = [progress.views for progress, image in glimpses if image is not None]
    assert views == sorted(views)
    assert {image.shape for _, image in glimpses if image is not None} == {(160, 160)}
    assert live.progress == recon.live.Progress(SCAN["num"], SCAN["num"], running=False)
    np.testing.assert_array_equal(live.volume, made.volume)
    np.testing.assert_array_equal(live.slice, made.volume[16])


def test_other_runs_leave_the_result_alone(taken):
    _, made, _, live = taken
    for pair in (("start", {"uid": "x", "scan_type": "milling"}), ("stop", {"run_start": "x"})):
        live(*pair)
    assert live.result(SECONDS) is made


def test_a_failure_of_the_reconstruction_does_not_reach_the_scan(scope):
    engine, live = RunEngine({}, call_returns_result=True), recon.LiveReconstruction(relaxation="much")
    engine.subscribe(live)
    short = {"num": 3, "step_deg": 120.0, "binning": 8, "num_dark": 1, "num_flat": 1, "reference_every": 0}
    assert engine(tomography(scope, **short)).exit_status == "success"
    with pytest.raises(ValueError, match="much"):
        live.result(SECONDS)
    assert isinstance(live.error, ValueError)
    live(*("start", {"uid": "y", "scan_type": "tomography"}))
    with pytest.raises(ValueError, match="run y: its start document has no geometry"):
        live.result(SECONDS)


def test_a_scan_does_not_wait_for_the_reconstruction(taken):
    """Documents are accepted while the thread of the reconstruction is blocked."""
    documents, _, _, _ = taken
    go_on, reached = threading.Event(), threading.Event()

    def hold(_):
        reached.set()
        go_on.wait(SECONDS)

    live = recon.LiveReconstruction(hold, correct=False, sweeps=1)
    for name, doc in documents:
        live(name, doc)
    assert reached.wait(SECONDS)
    for name, doc in documents:  # a second run, which nobody works on yet
        live(name, doc | {"uid": "second"} if name == "start" else doc)
    with pytest.raises(TimeoutError):
        live.result(0.0)
    go_on.set()
    assert live.result(SECONDS).uids == ("second",)


def test_shifts_of_new_views_are_predicted_from_their_moments(taken):
    """The shifts of every other view are predicted from those between them."""
    documents, made, _, _ = taken
    follower = RunFollower(documents[0][1], correct=False)
    for name, doc in documents[1:]:
        follower.arrivals(name, doc)
    follower.finish()
    p = follower.volume._p
    angles, turned = follower.volume._measured_deg, made.geometry.angles_deg - follower.volume._measured_deg
    known, new = np.arange(0, 96, 2), np.arange(1, 96, 2)
    prediction = ShiftPrediction.from_aligned(p[known], angles[known], made.shifts_px[known], turned[known])
    found = prediction.shifts_px(p[new], angles[new])
    assert np.sqrt(((found - made.shifts_px[new]) ** 2).mean(axis=0)).max() < 0.3
    assert np.abs(prediction.turned_deg(found) - turned[new]).max() < 0.05


def test_later_flats_correct_earlier_views(taken):
    documents = taken[0]
    whole = RunFollower(documents[0][1], correct=False)
    for name, doc in documents[1:]:
        whole.arrivals(name, doc)
    whole._read_new()
    piecewise = RunFollower(documents[0][1], correct=False)
    for name, doc in documents[1:]:
        piecewise.arrivals(name, doc)
        piecewise.advance()
    piecewise._update_field()
    expected, found = whole.volume._p, piecewise.volume._p
    assert np.abs(found - expected).mean() < 0.1 / np.sqrt(1453 * 64)  # a tenth of the noise of an open pixel


def test_every_view_is_used_and_new_views_first(taken):
    geometry = taken[1].geometry
    live = LiveVolume(geometry, correct=False, sweeps=2)
    p = np.zeros((96, *geometry.detector_shape), np.float32)
    first, later = np.arange(0, 96, 2), np.arange(1, 96, 2)
    for views in (first, later):
        live.add(views, p[views], np.ones_like(p[views]), geometry.angles_deg[views], np.zeros(48))
        while live.visits[views].min() == 0:
            assert live.improve()
    assert live.visits.max() == 1
    while live.improve():
        pass
    assert live.visits.min() == live.visits.max() == 2


def test_a_scan_may_end_when_more_views_would_change_little(scope):
    engine = RunEngine({}, call_returns_result=True)
    documents, live = [], recon.LiveReconstruction(tolerance=0.5)
    engine.subscribe(live)
    engine.subscribe(lambda name, doc: documents.append((name, doc)))
    assert not live.enough()
    engine(tomography(scope, **SCAN, enough=live.enough))
    stop = documents[-1][1]
    made = live.result(SECONDS)
    views = stop["num_events"]["primary"]
    assert stop["exit_status"] == "success"
    assert made.geometry.num_views == views
    if views < SCAN["num"]:  # how soon depends on the pace of the machine
        assert stop["reason"] == f"enough: {SCAN['num'] - views} of {SCAN['num']} views were left out, as agreed before"
