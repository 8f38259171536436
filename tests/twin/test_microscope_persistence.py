"""The instrument outlives its processes: reopening, kills, dose of beams between processes."""

import json
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin import Clock, InstrumentInUse, Microscope
from xrm_sims.twin.two_slot_file import TwoSlotFile

DEFAULTS = Settings()
COARSE = DEFAULTS.model_copy(update={"surface": DEFAULTS.surface.model_copy(update={"pitch_um": 0.2})})

# Moves a motor for ever and says after each command what was acknowledged.
MOVE = """
import sys
from xrm_sims.twin import Microscope
scope = Microscope(sys.argv[1])
scope.beam.put("blanked", False)
for n in range(1, 100_000):
    scope.stage.put("z_um", float(n % 100))
    scope.widepix.put("exposure_s", float(n % 60 + 1))
    print(n, scope.instrument.get("time_s"), flush=True)
"""

# Begins to draw with the ion beam on, says so, and never gets further.
DRAW = """
import sys, threading
from xrm_sims.settings import Settings
from xrm_sims.twin import Clock, Microscope

with Microscope(sys.argv[1]) as scope:
    scope.instrument.put("mode", "fib")
    scope.stage.put("bias_v", 500.0)
    for name in ("rows", "columns"):
        scope.fib.put(name, 64)
    scope.fib.put("fov_um", 8.0)
    scope.fib.put("current_pa", 100.0)
    scope.fib.put("blanked", False)

def wait(halt, seconds):
    print("drawing", flush=True)
    return threading.Event().wait()

scope = Microscope(sys.argv[1], clock=Clock("real", wait=wait, wall=lambda: 0.0))
if sys.argv[2] == "raster":
    scope.sector.raster_frame()
else:
    draw = {"mill": scope.fib.mill_pass, "deposit": scope.fib.deposit_pass}[sys.argv[2]]
    draw({"kind": "rectangle", "size_um": (4.0, 4.0), "depth_um": 0.2, "passes": 1})
"""


@pytest.fixture(scope="module")
def pillar():
    return CathodePillar(seed=1)


class Wall:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def child(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def kill(process):
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    return rest


def on_disk(root):
    record = TwoSlotFile(root / "state")
    try:
        return json.loads(record.read())
    finally:
        record.close()


def everything(scope):
    devices = ("instrument", "beam", "target", "stage", "rotation", "widepix", "fib", "sector", "se", "eds")
    return {device: dict(getattr(scope, device).values) for device in devices}


def test_everything_comes_back_after_closing(tmp_path, pillar):
    with Microscope(tmp_path, settings=COARSE, specimen=pillar) as scope:
        scope.target.put("material", "Cu")
        scope.instrument.put("mode", "fib")
        scope.rotation.put("angle_deg", 12.3)
        scope.stage.put("bias_v", 500.0)
        scope.sector.put("collector_2_radius_mm", 80.123456789)
        scope.fib.put("blanked", False)
        scope.fib.mill_pass({"kind": "rectangle", "size_um": [4.0, 4.0], "depth_um": 0.2, "passes": 1})
        scope.fib.put("blanked", True)
        before, truth, time_s = everything(scope), scope.truth(), scope.instrument.get("time_s")
    with Microscope(tmp_path, settings=COARSE, specimen=pillar) as scope:
        assert everything(scope) == before
        assert scope.instrument.get("time_s") == time_s
        assert scope.truth().totals == truth.totals
        np.testing.assert_array_equal(scope.truth().scan_to_specimen, truth.scan_to_specimen)
        np.testing.assert_array_equal(scope.truth().surface.heights_um, truth.surface.heights_um)
        np.testing.assert_array_equal(scope.truth().surface.removed_um3, truth.surface.removed_um3)


def test_closing_in_between_changes_no_random_number(tmp_path, pillar):
    def counts(root, *, reopen):
        measured = []
        scope = Microscope(root, settings=COARSE, specimen=pillar)
        for mode in ("fib", "sem", "fib"):
            scope.instrument.put("mode", mode)
            if reopen:
                scope.close()
                scope = Microscope(root, settings=COARSE, specimen=pillar)
            measured.append(scope.truth().scan_to_specimen)
        scope.stage.put("bias_v", 500.0)
        scope.fib.put("rows", 16)
        for _ in range(2):
            measured.append(scope.sector.raster_frame().counts)
            if reopen:
                scope.close()
                scope = Microscope(root, settings=COARSE, specimen=pillar)
        scope.close()
        return measured

    for through, reopened in zip(
        counts(tmp_path / "a", reopen=False), counts(tmp_path / "b", reopen=True), strict=True
    ):
        np.testing.assert_array_equal(through, reopened)


@pytest.mark.parametrize("moment", [1, 23, 57])
def test_a_killed_process_leaves_what_it_acknowledged(tmp_path, moment):
    process = child(MOVE, tmp_path)
    acknowledged = [process.stdout.readline() for _ in range(moment)]
    acknowledged += kill(process)
    n, time_s = int(acknowledged[-1].split()[0]), float(acknowledged[-1].split()[1])
    with Microscope(tmp_path) as scope:
        z_um, exposure_s = scope.stage.get("z_um"), scope.widepix.get("exposure_s")
        # the command that was under way when the process died may be done or not, the one before it is
        assert (z_um, exposure_s) in [
            (float(n % 100), float(n % 60 + 1)),
            (float((n + 1) % 100), float(n % 60 + 1)),
            (float((n + 1) % 100), float((n + 1) % 60 + 1)),
        ]
        assert scope.instrument.get("time_s") >= time_s
        assert scope.beam.get("blanked") is False
        scope.beam.put("blanked", True)
        assert scope.beam.get("blanked") is True


def test_the_living_process_keeps_its_instrument_and_the_dead_one_does_not(tmp_path):
    process = child(MOVE, tmp_path)
    process.stdout.readline()
    with pytest.raises(InstrumentInUse, match=rf"held by \S+, pid {process.pid} on "):
        Microscope(tmp_path)
    kill(process)
    Microscope(tmp_path).close()


def test_the_beam_is_on_disk_before_it_doses(tmp_path, pillar):
    with Microscope(tmp_path, settings=COARSE, specimen=pillar) as scope:
        scope.fib.put("blanked", False)
        assert on_disk(tmp_path)["values"]["fib"]["blanked"] is False


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("raster", 64 * 64 * 0.55e-3),
        ("mill", 4.0 * 4.0 * 0.2 / 0.146 / 0.1),
        ("deposit", 4.0 * 4.0 * 0.2 / 0.5 / 0.1),
    ],
)
def test_a_scan_killed_half_way_doses_as_a_whole_and_then_the_beam_is_parked(tmp_path, pillar, kind, seconds):
    process = child(DRAW, tmp_path, kind)
    assert process.stdout.readline() == "drawing\n"
    assert on_disk(tmp_path)["scanning"]
    kill(process)
    scan_nc = 0.1 * seconds  # 100 pA

    # the state was written at wall time 0; back within the time of the scan: the scan alone
    with Microscope(tmp_path, settings=COARSE, specimen=pillar, clock=Clock(wall=Wall(0.5))) as scope:
        assert scope.fib.get("dose_nc") == pytest.approx(scan_nc)
        surface = scope.truth().surface
        assert (surface.deposited_um3 if kind == "deposit" else surface.removed_um3.sum()) > 0.0
        assert scope.fib.get("blanked") is False
    # half a minute later it has been digging where it stood
    with Microscope(tmp_path, settings=COARSE, specimen=pillar, clock=Clock(wall=Wall(30.5))) as scope:
        assert scope.fib.get("dose_nc") == pytest.approx(scan_nc + 0.1 * 30.0)
        scope.fib.put("blanked", True)
    with Microscope(tmp_path, settings=COARSE, specimen=pillar, clock=Clock(wall=Wall(1e6))) as scope:
        assert scope.fib.get("dose_nc") == pytest.approx(scan_nc + 0.1 * 30.0)


def test_an_unblanked_fib_digs_on_while_nobody_is_there(tmp_path, pillar):
    wall = Wall(1000.0)
    with Microscope(tmp_path, settings=COARSE, specimen=pillar, clock=Clock(wall=wall)) as scope:
        scope.fib.put("current_pa", 500.0)
        scope.fib.put("blanked", False)
        u, v = scope.truth().scan_to_specimen[:, 2]
        before = scope.truth().surface.heights_um.copy()
    wall.now += 60.0
    with Microscope(tmp_path, settings=COARSE, specimen=pillar, clock=Clock(wall=wall)) as scope:
        assert scope.fib.get("dose_nc") == pytest.approx(0.5 * 60.0)
        assert scope.instrument.get("time_s") == pytest.approx(60.0)
        surface = scope.truth().surface
        dug = before - surface.heights_um
        row, column = np.unravel_index(np.argmax(dug), dug.shape)
        middle = (len(dug) - 1) / 2
        assert np.hypot((column - middle) * 0.2 - u, (row - middle) * 0.2 - v) < 0.4
        scope.fib.put("blanked", True)
    wall.now += 3600.0
    with Microscope(tmp_path, settings=COARSE, specimen=pillar, clock=Clock(wall=wall)) as scope:
        assert scope.fib.get("dose_nc") == pytest.approx(0.5 * 60.0)
        np.testing.assert_array_equal(scope.truth().surface.heights_um, surface.heights_um)


def test_an_unblanked_electron_beam_goes_on_too_and_faster_clocks_count_faster(tmp_path):
    wall = Wall(1000.0)
    with Microscope(tmp_path, clock=Clock(wall=wall)) as scope:
        scope.target.put("x_um", -400.0)
        scope.beam.put("blanked", False)
    wall.now += 100.0
    with Microscope(tmp_path, clock=Clock(10.0, wall=wall)) as scope:
        assert scope.beam.get("target_charge_c") == pytest.approx(400e-9 * 1000.0, rel=0.01)
        assert scope.beam.get("specimen_charge_c") == 0.0


def test_another_specimen_than_the_mounted_one_is_refused(tmp_path):
    Microscope(tmp_path, seed=3).close()
    with pytest.raises(ValueError, match=r"cathode_pillar of seed 3 is mounted in .*, not cathode_pillar of seed 4; "):
        Microscope(tmp_path, seed=4)
    with Microscope(tmp_path) as scope:  # whatever is mounted
        scope.stage.put("z_um", 5.0)
    with Microscope(tmp_path, seed=4, reset=True) as scope:
        assert scope.stage.get("z_um") == 0.0


def test_an_unknown_sample_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="sample: there is no 'moon_rock'; known are cathode_pillar"):
        Microscope(tmp_path / "root", sample="moon_rock")
    assert not (tmp_path / "root").exists()


def test_a_seed_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="seed: needs a whole number from 0 on, got -1"):
        Microscope(tmp_path, seed=-1)


def test_a_refused_opening_lets_go_of_the_instrument(tmp_path):
    Microscope(tmp_path, seed=3).close()
    with pytest.raises(ValueError, match="mounted"):
        Microscope(tmp_path, seed=4)
    Microscope(tmp_path, seed=3).close()


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, pillar):
    """Twelve full-format frames of 1.3 MB each do not stay in memory."""
    with Microscope(tmp_path, settings=COARSE, specimen=pillar) as scope:
        scope.target.put("x_um", -400.0)
        scope.beam.put("blanked", False)
        scope.widepix.put("exposure_s", 90.0)
        for _ in range(3):
            scope.widepix.expose()
        tracemalloc.start()
        for angle in range(12):
            scope.rotation.put("angle_deg", float(angle))
            scope.widepix.expose()
        kept_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept_bytes < 1_000_000


def test_a_disk_that_is_full_is_said_in_one_sentence(tmp_path, monkeypatch):
    with Microscope(tmp_path) as scope:

        def full(state):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(scope._store, "save", full)
        with pytest.raises(RuntimeError, match=r"instrument .*: state cannot be written \(No space left on device\)"):
            scope.stage.put("z_um", 5.0)
