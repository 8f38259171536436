import pytest
from bluesky import RunEngine

from devices import Instrument
from xrm_sims.settings import Settings
from xrm_sims.twin.microscope import Microscope


@pytest.fixture
def twin(tmp_path):
    with Microscope(tmp_path / "twin", seed=1) as microscope:
        yield microscope


@pytest.fixture
def scope(twin, tmp_path):
    instrument = Instrument(twin, Settings(), tmp_path / "frames")
    yield instrument
    instrument.close()


@pytest.fixture
def RE():  # noqa: N802
    return RunEngine({}, call_returns_result=True)


@pytest.fixture
def documents(RE):
    collected = []
    RE.subscribe(lambda name, doc: collected.append((name, doc)))
    return collected
