"""Random commands to the real devices on the twin: no accepted command damages the instrument.

The twin itself accepts nearly everything; the interlocks in front of it protect the instrument.
"""

import os
from contextlib import suppress

import numpy as np
import pytest
from bluesky.utils import FailedStatus
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from devices import Instrument
from devices.interlocks import State, objections
from tests.devices.test_clearance import enters
from tests.twin.conftest import Slab, small
from xrm_sims.settings import SurfaceGrid
from xrm_sims.twin import Clock, Microscope

SETTINGS = small(surface=SurfaceGrid(pitch_um=2.0, milling_columns=4))
RECTANGLE = {"kind": "rectangle", "size_um": [5.0, 5.0], "depth_um": 0.05, "passes": 2}
FIELDS = {
    "mode": st.sampled_from(["xray", "sem", "fib", "transfer"]),
    "beam_blanked": st.booleans(),
    "fib_blanked": st.booleans(),
    "target_x_um": st.sampled_from([-8000.0, -8000.0, -400.0, -400.0, 0.0, -130.0]) | st.floats(-9000, 50),
    "target_y_um": st.sampled_from([0.0, 0.0, 700.0, -150.0]) | st.floats(-2100, 2100),
    "target_z_um": st.sampled_from([0.0, 0.0, 300.0, -255.0, -100.0]) | st.floats(-550, 600),
    "target_material": st.sampled_from(["W", "Cu", "Au"]),
    "stage_x_um": st.sampled_from([0.0, -400.0, 500.0]) | st.floats(-550, 550),
    "stage_y_um": st.sampled_from([0.0, 300.0]) | st.floats(-550, 550),
    "stage_z_um": st.sampled_from([0.0, -30.0, 200.0]) | st.floats(-210, 210),
    "stage_tilt_deg": st.sampled_from([0.0, 0.0, 10.0]) | st.floats(-15, 70),
    "stage_bias_v": st.sampled_from([0.0, 0.5, 500.0, float("nan")]),
    "rotation_angle_deg": st.floats(-400, 400),
}
CHANGES = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name]))
RAYS = {"target_x_um": -400.0, "beam_blanked": False}
IONS = {"mode": "fib", "stage_bias_v": 500.0, "fib_blanked": False}
PICTURE = {"mode": "sem", "beam_blanked": False}
COMMANDS = st.one_of(
    st.tuples(st.just("set"), CHANGES),
    st.tuples(st.just("set"), CHANGES),
    st.tuples(st.just("set and stop on the way"), CHANGES, st.floats(0.01, 0.99)),
    st.tuples(st.just("set together"), st.lists(CHANGES, min_size=2, max_size=4)),
    st.tuples(st.just("set, blank and stop before any of it begins"), CHANGES),
    st.sampled_from(
        [("work", RAYS, "expose"), ("work", IONS, "raster"), ("work", IONS, "mill"), ("work", PICTURE, "blank")]
    ),
    st.sampled_from([("expose",), ("raster",), ("mill",), ("pause and resume",), ("make safe",), ("blank",)]),
)


class Block(Slab):
    settings = SETTINGS.specimen


class Wall:
    """A clock that runs during waits; ``cut`` stops the next wait after this share of it."""

    def __init__(self):
        self.now, self.cut = 1000.0, None

    def __call__(self):
        return self.now

    def wait(self, halt, seconds):
        share, self.cut = self.cut, None
        self.now += seconds * (1.0 if share is None else share)
        return share is not None


class Driven:
    """An instrument on the twin, and its commands."""

    def __init__(self, folder):
        self.wall = Wall()
        clock = Clock("real", wall=self.wall, wait=self.wall.wait)
        self.twin = Microscope(folder / "twin", settings=SETTINGS, specimen=Block(), clock=clock)
        self.scope = Instrument(self.twin, SETTINGS, folder / "frames")
        self.signals = dict(self.scope.interlocks._signals)
        self.drivers = {name: (s.channel.driver, s.quantity) for name, s in self.signals.items()}
        for driver in (self.twin.fib, self.twin.sector):
            for name, value in {"rows": 4, "columns": 4, "fov_um": 5.0}.items():
                with suppress(ValueError):
                    driver.put(name, value)
        self.start = {name: driver.get(quantity) for name, (driver, quantity) in self.drivers.items()}

    def close(self):
        self.scope.close()
        self.twin.close()

    def restart(self):
        """Reset the twin to its initial state, without the interlocks."""
        for name, (driver, quantity) in self.drivers.items():
            if driver.get(quantity) != self.start[name]:
                driver.put(quantity, self.start[name])
        for device in (self.scope.widepix, self.scope.sector):
            device.unstage()
            device.stage()

    def state(self):
        """Return the values of the hardware."""
        return State(**{name: driver.get(quantity) for name, (driver, quantity) in self.drivers.items()})

    def set(self, change):
        self.signals[change[0]].set(change[1]).wait()

    def set_and_stop_on_the_way(self, change, share):
        self.wall.cut = share
        try:
            self.set(change)
        finally:
            self.wall.cut = None

    def set_together(self, changes):
        """Queue several moves at once, as mv does in a plan."""
        statuses = []
        with self.scope.worker.lock:
            for name, value in changes:
                with suppress(ValueError):
                    statuses.append(self.signals[name].set(value))
        for status in statuses:
            with suppress(ValueError, RuntimeError):
                status.wait()

    def set_blank_and_stop_before_any_of_it_begins(self, change):
        with self.scope.worker.lock:
            self.signals["beam_blanked"].set(True)
            last = self.signals["fib_blanked"].set(True)
            with suppress(ValueError):
                self.signals[change[0]].set(change[1])
            self.scope.stop(success=True)
        last.wait()
        assert self.state().beam_blanked
        assert self.state().fib_blanked

    def work(self, goal, measure):
        """Work as a plan does: make safe, set what the interlocks allow, take a frame or draw a pass."""
        for change in {"beam_blanked": True, "fib_blanked": True, "target_x_um": -8000.0, "mode": "xray"}.items():
            self.set(change)
            whole(self)
        for change in goal.items():
            self.set(change)
            whole(self)
        getattr(self, measure)()

    def expose(self):
        self.scope.widepix.trigger().wait()

    def raster(self):
        self.scope.sector.kickoff().wait()
        self.scope.sector.complete().wait()

    def mill(self):
        self.scope.fib.unstage()
        self.scope.fib.stage()
        self.scope.fib.prepare((RECTANGLE, 0))
        self.scope.fib.trigger().wait()

    def pause_and_resume(self):
        before = self.state()
        self.scope.pause()
        assert self.state().beam_blanked
        assert self.state().fib_blanked
        self.scope.resume()
        assert self.state() == before

    def make_safe(self):
        self.scope.make_safe()

    def blank(self):
        for name in ("beam_blanked", "fib_blanked"):
            self.signals[name].put(True)
        assert self.state().beam_blanked
        assert self.state().fib_blanked


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):  # nobody cuts the power here, and the disk would take most of the time
            patch.setattr(os, name, lambda descriptor: None)
        driven = Driven(tmp_path_factory.mktemp("driven"))
        yield driven
        driven.close()


def whole(driven):
    """No state is forbidden, and the target is clear of rotating parts; the second is computed by independent code."""
    state = driven.state()
    assert objections(state, SETTINGS) == []
    assert not enters(np.array([state.target_from_axis_um]), SETTINGS.target.clearance_um)
    assert state.target_material in SETTINGS.target.materials


def drive(driven, commands):
    driven.restart()
    whole(driven)
    for command, *arguments in commands:
        with suppress(ValueError, RuntimeError, FailedStatus):  # refused or stopped, as may be
            getattr(driven, command.replace(",", "").replace(" ", "_"))(*arguments)
        whole(driven)
    for change in (("beam_blanked", True), ("fib_blanked", True), ("target_x_um", SETTINGS.target.park_x_um)):
        driven.set(change)  # refused never
        whole(driven)


random_sequences = given(st.lists(COMMANDS, min_size=3, max_size=9))
unhurried = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@seed(1)
@settings(max_examples=500, **unhurried)
@random_sequences
def test_random_commands_break_nothing(driven, commands):
    drive(driven, commands)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@seed(2)
@settings(max_examples=10_000, **unhurried)
@random_sequences
def test_many_more_random_commands_break_nothing(driven, commands):
    drive(driven, commands)
