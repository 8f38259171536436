from types import SimpleNamespace
from urllib.parse import urlparse

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import pytest
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from event_model import DocumentNames, schema_validators

from devices import Instrument
from xrm_sims.settings import Settings, SurfaceGrid
from xrm_sims.twin.microscope import Microscope

COARSE = Settings(surface=SurfaceGrid(pitch_um=0.4, milling_columns=16))  # nothing here looks at fine topography


@pytest.fixture
def twin(tmp_path):
    with Microscope(tmp_path / "twin", seed=1, settings=COARSE) as microscope:
        yield microscope


@pytest.fixture
def scope(twin, tmp_path):
    instrument = Instrument(twin, COARSE, tmp_path / "frames")
    yield instrument
    instrument.close()


@pytest.fixture
def RE():  # noqa: N802
    return RunEngine({}, call_returns_result=True)


class Run:
    """The documents of one or several runs, each validated when it arrives."""

    def __init__(self):
        self.documents = []

    def __call__(self, name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        if name == "start":
            assert type(doc["scan_type"]) is str  # no ScanType, which YAML cannot write
        self.documents.append((name, doc))

    def all(self, name):
        return [doc for kind, doc in self.documents if kind == name]

    @property
    def start(self):
        return self.all("start")[-1]

    @property
    def stop(self):
        return self.all("stop")[-1]

    def events(self, stream):
        """Return the events of a stream in order, the last of each seq_num, as consumers do."""
        uids = {doc["uid"] for doc in self.all("descriptor") if doc["name"] == stream}
        return list({doc["seq_num"]: doc for doc in self.all("event") if doc["descriptor"] in uids}.values())

    def frames(self, stream, key="widepix_image"):
        """Return a stream's only dataset, read with h5py, after checking that frame i has seq_num i + 1."""
        descriptor = next(doc for doc in self.all("descriptor") if doc["name"] == stream)
        datums = [doc for doc in self.all("stream_datum") if doc["descriptor"] == descriptor["uid"]]
        (resource,) = [
            doc for doc in self.all("stream_resource") if doc["uid"] in {d["stream_resource"] for d in datums}
        ]
        assert resource["data_key"] == key
        covered = [d["indices"]["start"] for d in datums]
        assert covered == list(range(len(covered)))
        assert all(d["seq_nums"]["start"] == d["indices"]["start"] + 1 for d in datums)
        with h5py.File(urlparse(resource["uri"]).path, "r") as file:
            frames = file[resource["parameters"]["dataset"]][()]
        assert len(frames) == len(covered)
        assert list(frames.shape[1:]) == descriptor["data_keys"][key]["shape"]
        return frames


@pytest.fixture
def run(RE):
    collected = Run()
    RE.subscribe(collected)
    return collected


@pytest.fixture
def state(twin):
    """Return values of the hardware, to check that nothing moved or that the instrument is safe."""

    def look():
        return {
            (device, name): getattr(twin, device).get(name)
            for device, names in {
                "instrument": ("mode",),
                "beam": ("blanked", "voltage_kv", "current_na"),
                "fib": ("blanked", "dose_nc", "fov_um"),
                "target": ("x_um", "y_um", "z_um", "material"),
                "stage": ("x_um", "y_um", "z_um", "tilt_deg", "bias_v"),
                "rotation": ("angle_deg",),
                "widepix": ("exposure_s", "binning"),
            }.items()
            for name in names
        }

    return look


@pytest.fixture
def is_safe(state):
    def look():
        now = state()
        parked = now["target", "x_um"] == Settings().target.park_x_um
        return parked and now["beam", "blanked"] is True and now["fib", "blanked"] is True

    return look


@pytest.fixture
def interrupt(RE):
    """Run a plan and pause it right after the nth message that ``picks`` accepts."""

    def start(plan, picks, nth=1):
        count = SimpleNamespace(seen=0)

        def insert(msg):
            if picks(msg):
                count.seen += 1
                if count.seen == nth:
                    return None, bps.pause()
            return None, None

        with pytest.raises(RunEngineInterrupted):
            RE(bpp.plan_mutator(plan, insert))

    return start


@pytest.fixture
def raises_at():
    """Replace the nth message that ``picks`` accepts by an exception."""

    def wrap(plan, picks, nth=1):
        count = SimpleNamespace(seen=0)

        def fail():
            yield Msg("null")
            raise RuntimeError("a cable came off")

        def insert(msg):
            if picks(msg):
                count.seen += 1
                if count.seen == nth:
                    return fail(), None
            return None, None

        return bpp.plan_mutator(plan, insert)

    return wrap
