"""The example in docs/drivers.md, with the real devices and a real plan."""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import bluesky.plans as bp
import pytest

from devices import Instrument, drivers
from xrm_sims.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()


class Controller:
    """A stepper controller that moves by ``pace`` at each query."""

    def __init__(self, pace=10**9):
        self.pace, self.at, self.goal, self.asked = pace, 0, 0, lambda: None

    def write(self, line):
        self.goal = self.at if line == "STOP" else int(line.removeprefix("GOTO "))

    def query(self, line):
        if line == "POSITION?":
            return str(self.at)
        left = self.goal - self.at
        self.at += max(-self.pace, min(self.pace, left))
        self.asked()
        return "0" if self.at == self.goal else "1"


@pytest.fixture
def controller():
    return Controller()


@pytest.fixture
def lab(twin, controller, tmp_path):
    """The twin with another rotation stage."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(source, names)
    parts = [name for name, _ in inspect.getmembers(drivers.Drivers, lambda part: isinstance(part, property))]
    taken = {name: getattr(twin, name) for name in parts}
    scope = Instrument(
        SimpleNamespace(**taken | {"rotation": names["StepperRotation"](controller)}),
        Settings(),
        tmp_path / "frames",
    )
    yield scope
    scope.close()


def test_a_plan_runs_on_it(lab, controller, twin, RE, documents):
    lab.widepix.binning.put(8)
    RE(bp.scan([lab.widepix], lab.rotation, 0, 90, 3))
    angles = [doc["data"]["rotation_angle_deg"] for name, doc in documents if name == "event"]
    assert angles == [0.0, 45.0, 90.0]
    assert controller.at == 90 * 400
    assert twin.rotation.get("angle_deg") == 0.0


def test_it_stops_and_says_where(lab, controller):
    controller.pace = 400
    controller.asked = lambda: controller.at >= 4000 and lab.drivers.rotation.stop()
    with pytest.raises(RuntimeError, match="rotation: stopped at 10 deg on the way to 90 deg"):
        lab.rotation.angle_deg.put(90.0)
    assert lab.rotation.position == 10.0


def test_interlocks_stand_in_front_of_it(lab, twin, controller):
    lab.target.x_um.put(-400.0)
    twin.target.put("x_um", -110.0)  # somebody has pushed it
    with pytest.raises(ValueError, match="to turn it; move the target back along x first"):
        lab.rotation.set(10.0)
    assert controller.goal == 0
    with pytest.raises(ValueError, match="has no quantity 'tilt_deg'"):
        lab.drivers.rotation.put("tilt_deg", 1.0)


def test_the_page_names_what_there_is():
    """The protocols and names on the page exist, and each protocol is short."""
    protocols = [c for _, c in inspect.getmembers(drivers, inspect.isclass) if getattr(c, "_is_protocol", False)]
    own = [c for c in protocols if c.__module__ == "devices.drivers"]
    assert {"Drivers", "Driver", "WritesFrames"} <= {c.__name__ for c in own}
    assert max(len(inspect.getsource(c).splitlines()) for c in own) < 60
    for name in re.findall(r"`(\w+Frame\w*|frame_writer|let_pass)`", PAGE):
        assert hasattr(drivers, name) or name in inspect.getsource(drivers)
