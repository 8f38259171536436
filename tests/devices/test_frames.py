"""Frames on disk and the documents that refer to them."""

from urllib.parse import urlparse

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import pytest
from bluesky.utils import FailedStatus
from event_model import DocumentNames, schema_validators

from devices import Instrument
from xrm_sims.settings import Settings, SurfaceGrid
from xrm_sims.twin.microscope import Microscope


def frames_of(documents, key):
    """Return the datasets of a key, read with h5py."""
    resources = [doc for name, doc in documents if name == "stream_resource" and doc["data_key"] == key]
    arrays = []
    for resource in resources:
        with h5py.File(urlparse(resource["uri"]).path, "r", swmr=True) as file:
            arrays.append(file[resource["parameters"]["dataset"]][()])
    return arrays


def valid(documents):
    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    return True


@pytest.fixture
def ready(scope):
    scope.widepix.binning.put(8)
    scope.target.x_um.put(-400.0)
    scope.beam.blanked.put(False)
    return scope


def test_a_bluesky_scan_writes_frames_and_points_at_them(ready, RE, documents):
    RE(bp.scan([ready.widepix], ready.rotation, 0, 90, 3))
    assert valid(documents)
    (frames,) = frames_of(documents, "widepix_image")
    assert frames.shape == (3, 32, 160)
    assert frames.dtype == "uint32"
    assert frames.mean() > 1
    descriptor = next(doc for name, doc in documents if name == "descriptor")
    key = descriptor["data_keys"]["widepix_image"]
    assert (key["external"], key["shape"], key["dtype_numpy"]) == ("STREAM:", [32, 160], "<u4")
    configuration = descriptor["configuration"]["widepix"]["data"]
    assert configuration["widepix_binning"] == 8
    assert configuration["widepix_pixel_mm"] == pytest.approx(0.44)
    events = [doc for name, doc in documents if name == "event"]
    assert [e["data"]["rotation_angle_deg"] for e in events] == [0, 45, 90]
    assert set(events[0]["data"]) == {"rotation_angle_deg", "beam_current_na", "instrument_time_s"}


def test_every_frame_is_readable_when_its_datum_is_announced(ready, RE):
    seen = []
    uris = {}

    def reader(name, doc):
        if name == "stream_resource":
            uris[doc["uid"]] = urlparse(doc["uri"]).path
        if name == "stream_datum":
            with h5py.File(uris[doc["stream_resource"]], "r", swmr=True) as file:
                seen.append(len(file["/entry/data/data"]) >= doc["indices"]["stop"])

    RE(bp.count([ready.widepix], num=4), reader)
    assert seen == [True] * 4


def test_each_stream_of_a_run_has_its_own_file(ready, RE, documents):
    def plan():
        for stream, index in (("flat", 0), ("primary", 0), ("flat", 1)):
            yield from bps.prepare(ready.widepix, (stream, index), wait=True)
            yield from bps.trigger_and_read([ready.widepix], name=stream)

    RE(bpp.stage_wrapper(bpp.run_wrapper(plan()), [ready.widepix]))
    assert valid(documents)
    assert sorted(len(a) for a in frames_of(documents, "widepix_image")) == [1, 2]


def test_the_same_slot_is_not_exposed_twice(ready, RE, documents, twin):
    def plan():
        for index in (0, 0, 1, 1):
            yield from bps.prepare(ready.widepix, ("primary", index), wait=True)
            yield from bps.trigger_and_read([ready.widepix])

    begun_s = twin.instrument.get("time_s")
    RE(bpp.stage_wrapper(bpp.run_wrapper(plan()), [ready.widepix]))
    (frames,) = frames_of(documents, "widepix_image")
    assert len(frames) == 2
    assert twin.instrument.get("time_s") - begun_s == pytest.approx(2 * ready.widepix.exposure_s.get())
    events = [doc["data"] for name, doc in documents if name == "event"]
    assert events[0] == events[1] != events[2] == events[3]


def test_a_slot_cannot_be_skipped_and_frames_need_staging(ready):
    with pytest.raises(RuntimeError, match="stage the detector"):
        ready.widepix.trigger()
    ready.widepix.stage()
    with pytest.raises(ValueError, match="frame 2 of 'dark' cannot follow 0 frames"):
        ready.widepix.prepare(("dark", 2))
    ready.widepix.unstage()


def test_a_failing_exposure_fails_the_run_with_its_sentence(ready, RE, documents):
    ready.beam.blanked.put(True)
    ready.target.x_um.put(-8000.0)
    ready.mode.put("sem")
    with pytest.raises(FailedStatus) as failure:
        RE(bp.count([ready.widepix]))
    assert 'an exposure needs mode "xray"' in str(failure.value.__cause__)
    assert documents[-1][1]["exit_status"] == "fail"


def test_the_instrument_stages_and_unstages_by_any_of_its_detectors(ready, RE):
    for _ in range(2):
        RE(bp.count([ready.widepix]))
    assert not ready.widepix.store.is_open
    assert ready.stage.z_um.get() == 0.0


def test_a_stopped_raster_finishes_without_a_frame(tmp_path):
    """A raster of 144 s in real time is stopped early."""
    settings = Settings(surface=SurfaceGrid(pitch_um=0.4))
    with Microscope(tmp_path / "twin", seed=1, settings=settings) as twin:
        scope = Instrument(twin, settings, tmp_path / "frames")
        scope.mode.put("fib")
        scope.stage.bias_v.put(500.0)
        scope.close()
    with Microscope(tmp_path / "twin", settings=settings, clock=1.0) as twin:
        scope = Instrument(twin, settings, tmp_path / "frames")
        scope.sector.stage()
        scope.fib.blanked.put(False)
        scope.sector.kickoff().wait()
        raster = scope.sector.complete()
        assert scope.make_safe() == ["ion beam: found on, now blanked"]
        raster.wait()
        assert list(scope.sector.collect_asset_docs()) == []
        assert scope.sector.get_index() == 0
        scope.sector.unstage()
        scope.close()
