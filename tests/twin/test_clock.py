import threading

import pytest

from xrm_sims.twin.clock import Clock


class Wall:
    """A wall clock that runs only during waits."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def wait(self, halt, seconds):
        if halt.is_set():
            return True
        self.now += seconds
        return False


@pytest.mark.parametrize(("pace", "rate"), [("real", 1.0), (60, 60.0), (0.5, 0.5)])
def test_seconds_are_waited_for_at_the_pace_asked(pace, rate):
    wall = Wall()
    clock = Clock(pace, wall=wall, wait=wall.wait)
    assert clock.let_pass(90.0, threading.Event()) == 90.0
    assert wall.now == pytest.approx(1000.0 + 90.0 / rate)
    assert clock.elapsed_s(1000.0) == pytest.approx(90.0)


def test_a_fast_clock_waits_for_nothing_and_does_not_run_by_itself():
    wall = Wall()
    clock = Clock("fast", wall=wall, wait=wall.wait)
    assert clock.let_pass(90.0, threading.Event()) == 90.0
    assert wall.now == 1000.0
    assert clock.elapsed_s(900.0) == 0.0
    assert clock.away_s(900.0) == 100.0


def test_a_halt_ends_the_wait_and_says_how_far_it_came():
    wall = Wall()

    def interrupted(halt, seconds):
        wall.now += 0.25 * seconds
        return True

    clock = Clock(10.0, wall=wall, wait=interrupted)
    assert clock.let_pass(80.0, threading.Event()) == pytest.approx(20.0)


def test_a_wall_clock_set_back_makes_no_negative_time():
    clock = Clock("real", wall=Wall(5.0))
    assert clock.elapsed_s(1000.0) == 0.0


@pytest.mark.parametrize("pace", ["slow", 0, -1.0, float("nan"), float("inf"), True, None])
def test_another_pace_is_refused(pace):
    with pytest.raises(ValueError, match=r'clock: needs "fast", "real" or a positive factor'):
        Clock(pace)
