"""The instrument while time passes: state after a stop, and an accelerated clock."""

import threading

import pytest

from tests.twin.conftest import DEFAULTS, for_sims, small
from xrm_sims.twin import Clock, Microscope


def test_a_stopped_exposure_ends_early_and_leaves_the_instrument_usable(tmp_path, pillar):
    began = threading.Event()

    def wait(halt, seconds):
        began.set()
        return halt.wait(seconds)

    with Microscope(tmp_path, settings=small(), specimen=pillar, clock=Clock("real", wait=wait)) as scope:
        scope.widepix.put("exposure_s", 3600.0)
        raised = []

        def expose():
            try:
                scope.widepix.expose()
            except RuntimeError as error:
                raised.append(str(error))

        worker = threading.Thread(target=expose)
        worker.start()
        assert began.wait(60)
        scope.widepix.stop()
        worker.join(60)
        assert not worker.is_alive()
        assert raised[0].startswith("widepix: stopped after ")
        assert raised[0].endswith("s of 3600 s")
        scope.widepix.put("exposure_s", 1.0)
        assert scope.widepix.get("exposure_s") == 1.0


def halfway():
    """A clock that stops every wait halfway."""
    wall = [1000.0]

    def wait(halt, seconds):
        wall[0] += 0.5 * seconds
        return True

    return Clock("real", wall=lambda: wall[0], wait=wait)


def test_a_stopped_move_stays_where_it_got_to(tmp_path, pillar):
    with Microscope(tmp_path, settings=small(), specimen=pillar, clock=halfway()) as scope:
        with pytest.raises(RuntimeError, match=r"stage: stopped after 0\.15 s of 0\.3 s"):
            scope.stage.put("z_um", -30.0)
        assert scope.stage.get("z_um") == pytest.approx(-15.0)


def test_a_stopped_raster_and_a_stopped_pass_dose_what_they_drew(tmp_path, pillar):
    settings = small(mode_change=DEFAULTS.mode_change.model_copy(update={"duration_s": 0.0}))
    with Microscope(tmp_path, settings=settings, specimen=pillar, clock=halfway()) as scope:
        for_sims(scope)
        removed = scope.truth().surface.removed_um3.sum()
        with pytest.raises(RuntimeError, match="sector: stopped"):
            scope.sector.raster_frame()
        frame_nc = 50e-3 * 32 * 32 * 0.55e-3
        assert scope.fib.get("dose_nc") == pytest.approx(0.5 * frame_nc)
        assert scope.truth().surface.removed_um3.sum() > removed
        with pytest.raises(RuntimeError, match="fib: stopped"):
            scope.fib.mill_pass({"kind": "rectangle", "size_um": [5, 5], "depth_um": 0.1, "passes": 1})
        assert scope.fib.get("dose_nc") == pytest.approx(0.5 * frame_nc + 0.5 * 25 * 0.1 / 0.146)


def test_accelerated_time_follows_the_wall_between_commands(tmp_path, pillar):
    wall = [1000.0]
    with Microscope(tmp_path, settings=small(), specimen=pillar, clock=Clock(60, wall=lambda: wall[0])) as scope:
        wall[0] += 10.0
        assert scope.instrument.get("time_s") == pytest.approx(600.0)
        scope.beam.put("blanked", False)
        wall[0] += 1.0
        scope.beam.put("blanked", True)
        assert scope.beam.get("specimen_charge_c") == pytest.approx(400e-9 * 60.0, rel=0.01)
