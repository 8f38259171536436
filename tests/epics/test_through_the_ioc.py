"""The same devices and plans over Channel Access, with the server in another process."""

import signal
import threading
from urllib.parse import urlparse

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from event_model import DocumentNames, schema_validators

from devices import Instrument, InterlockError
from plans import mill, sims_raster, tomography
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.session.session import open_session
from xrm_sims.epics.drivers import EpicsDrivers
from xrm_sims.patterns import Rectangle
from xrm_sims.twin import Microscope

SCAN = {
    "num": 2,
    "step_deg": 90.0,
    "exposure_s": 90.0,
    "binning": 8,
    "num_dark": 1,
    "num_flat": 1,
    "flat_every": 0,
    "reference_every": 1,
}
PARTICULAR = {"uid", "time", "timestamps", "timestamp", "descriptor", "run_start", "stream_resource", "uri"}


def bare(value):
    """Return a document without what differs in every run: uids, wall times, folders."""
    if isinstance(value, dict):
        return {key: bare(entry) for key, entry in value.items() if key not in PARTICULAR}
    return [bare(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def measured(drivers, settings, folder):
    """Return documents and frames of a short tomography, a milling and a raster."""
    scope, documents, frames = Instrument(drivers, settings, folder), [], []
    RE = RunEngine({})

    def keep(name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        documents.append((name, bare(dict(doc))))
        if name == "stream_resource":
            frames.append((urlparse(doc["uri"]).path, doc["parameters"]["dataset"]))

    RE.subscribe(keep)
    RE(tomography(scope, **SCAN))
    RE(mill(scope, Rectangle(size_um=(4.0, 4.0), depth_um=0.1, passes=1)))
    RE(sims_raster(scope, shape=(16, 24), fov_um=6.0, frames=1))
    scope.close()
    counts = []
    for path, dataset in frames:
        with h5py.File(path, "r") as file:
            counts.append(file[dataset][()])
    return documents, counts


def test_a_tomography_a_milling_and_a_raster_equal_those_of_the_twin(ioc, tmp_path):
    with ioc("SAME:", "--seed", "3"):
        settings = session_settings(tmp_path / "ioc")
        drivers = EpicsDrivers("SAME:")
        documents, counts = measured(drivers, settings, tmp_path / "there")
        drivers.close()
    with Microscope(tmp_path / "twin", settings=settings, seed=3) as twin:
        expected, expected_counts = measured(twin, settings, tmp_path / "here")
    assert [name for name, _ in documents] == [name for name, _ in expected]
    for document, wanted in zip(documents, expected, strict=True):
        assert document == wanted
    assert [array.shape for array in counts] == [(1, 32, 160), (2, 32, 160), (3, 32, 160), (2, 32, 160), (1, 4, 16, 24)]
    for array, wanted in zip(counts, expected_counts, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert all(array.any() for array in counts[1:])


def variable(name, **options):
    import epics

    pv = epics.PV(name, **{"auto_monitor": False, **options})
    assert pv.wait_for_connection(timeout=20)
    return pv


def text(pv):
    return bytes(np.atleast_1d(pv.get(use_monitor=False)).astype(np.uint8)).split(b"\0")[0].decode()


def test_another_client_reads_metadata_and_is_refused_by_interlocks(ioc):
    """Plain Channel Access, as from a display manager: units, limits, busy, stop and interlocks."""
    with ioc("REAL:", "--clock", "real"):
        angle, back = variable("REAL:rotation:angle_deg"), variable("REAL:rotation:angle_deg_RBV")
        control = angle.get_ctrlvars()
        assert (control["units"], control["lower_ctrl_limit"], control["upper_ctrl_limit"]) == ("deg", -3600.0, 3600.0)
        assert variable("REAL:instrument:mode").enum_strs == ("xray", "sem", "fib", "transfer")
        message = variable("REAL:fib:Message")
        variable("REAL:fib:blanked").put(0, wait=True)
        assert text(message) == "refused: " + (
            "fib_blanked = False refused: the ion beam stays blanked in xray mode; change to fib mode first"
        )
        assert variable("REAL:fib:blanked_RBV").get(as_string=True) == "True"
        angle.put(4000.0, wait=True)
        assert "outside -3600 to 3600 deg" in text(variable("REAL:rotation:Message"))
        busy, moving, over = [], threading.Event(), threading.Event()

        def follow(value, **_):
            busy.append(value)
            if value:
                moving.set()

        variable("REAL:rotation:Busy", callback=follow, auto_monitor=True)
        angle.put(3600.0, use_complete=True, callback=lambda **_: over.set())  # six minutes at 10 deg/s
        moving.wait()
        assert not over.is_set()
        variable("REAL:rotation:Stop").put(1)
        over.wait()
        assert text(variable("REAL:rotation:Message")).startswith("failed: rotation: stopped after")
        assert 0.0 <= back.get(use_monitor=False) < 3600.0


def test_drivers_raise_the_errors_of_the_server_and_stop_moves(ioc, tmp_path):
    with ioc("STOP:", "--clock", "real") as process:
        drivers = EpicsDrivers("STOP:")
        scope = Instrument(drivers, session_settings(tmp_path / "ioc"), tmp_path / "frames")
        with pytest.raises(ValueError, match="ion beam stays blanked in xray mode"):
            drivers.fib.put("blanked", False)  # bypasses the client's interlocks: the server checks them too
        with pytest.raises(InterlockError, match="fib mode"):
            scope.fib.blanked.put(False)
        with pytest.raises(ValueError, match="needs one of xray, sem, fib, transfer, got 'tem'"):
            drivers.instrument.put("mode", "tem")
        with pytest.raises(ValueError, match="has no quantity 'brightness'"):
            drivers.beam.get("brightness")
        drivers.eds.put("elements", "Ni,Co")
        assert drivers.eds.get("elements") == "Ni,Co"
        assert drivers.widepix.get("binning") == 1
        assert drivers.beam.get("blanked") is True
        assert scope.widepix.bad_pixels().shape == (256, 1280)
        assert scope.widepix.bad_pixels().mean() == pytest.approx(0.003, abs=0.001)
        move = scope.rotation.set(3600.0)
        scope.rotation.stop(success=False)
        with pytest.raises(RuntimeError, match="stopped"):
            move.wait()
        assert scope.make_safe() == []
        move = scope.rotation.set(-3600.0)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"disconnected|does not answer"):
            move.wait()
        scope.close()
        drivers.close()


def test_a_session_controls_the_chosen_hardware(ioc, tmp_path):
    with ioc("LAB:", "--seed", "2"):
        with open_session(tmp_path / "data", hardware="epics:LAB:") as session:
            assert isinstance(session.drivers, EpicsDrivers)
            session.scope.beam.blanked.put(False)
        with open_session(tmp_path / "data", hardware="epics:LAB:") as session:  # a new session blanks the beam
            assert session.scope.beam.blanked.get() is True
        with pytest.raises(ValueError, match="seed: is for the twin, and this session controls epics:LAB:"):
            open_session(tmp_path / "data", seed=1, hardware="epics:LAB:")
    with pytest.raises(ValueError, match="hardware: needs twin or epics:PREFIX"):
        open_session(tmp_path / "data", hardware="tango:LAB")
