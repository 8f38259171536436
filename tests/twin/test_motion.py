import numpy as np
import pytest

from xrm_sims.settings import Motion
from xrm_sims.twin.motion import RunOut, SourceDrift, settling


def test_drift_does_not_depend_on_the_order_of_questions():
    times = np.random.default_rng(0).uniform(0, 3e5, 50)
    forwards, backwards = SourceDrift(Motion(), 7), SourceDrift(Motion(), 7)
    there = [forwards.at(t) for t in np.sort(times)]
    back = [backwards.at(t) for t in np.sort(times)[::-1]][::-1]
    assert np.array_equal(there, back)
    assert not np.allclose(there[-1], SourceDrift(Motion(), 8).at(times.max()))


def test_drift_starts_at_zero_and_is_continuous():
    drift = SourceDrift(Motion(), 3)
    assert not drift.at(0).any()
    path = np.array([drift.at(t) for t in np.arange(0, 40_000, 30.0)])
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.05


def test_drift_size_over_a_scan():
    """Steady part, random walk and thermal part add up in the mean square over seeds."""
    settings = Motion(drift_nm_per_h=60, thermal_drift_um=0.3, thermal_time_h=3)
    ends = np.array([SourceDrift(settings, seed).at(30 * 3600.0) for seed in range(300)])
    expected = (0.06 * 30) ** 2 + 0.06**2 * 30 + 0.3**2
    measured = (ends**2).sum(axis=1)
    assert measured.mean() == pytest.approx(expected, abs=5 * measured.std() / np.sqrt(len(ends)))


def test_no_motion_when_it_is_switched_off():
    still = Motion(drift_nm_per_h=0, thermal_drift_um=0, runout_nm=0)
    assert not SourceDrift(still, 1).at(1e5).any()
    assert not RunOut(still, 1).at(33.0).any()


def test_run_out_is_periodic_with_the_rms_asked_for():
    run_out = RunOut(Motion(runout_nm=150), 4)
    turn = np.array([run_out.at(a) for a in np.arange(0, 360, 0.5)])
    assert np.allclose(turn.mean(axis=0), 0, atol=1e-12)
    assert np.sqrt((turn**2).mean(axis=0)) == pytest.approx([0.15] * 3)
    assert np.allclose(run_out.at(12.5), run_out.at(372.5))
    assert np.array_equal(run_out.at(12.5), RunOut(Motion(runout_nm=150), 4).at(12.5))


def test_time_before_the_start_is_refused():
    with pytest.raises(ValueError, match="time_s: needs a twin time of 0 s or later, got -1"):
        SourceDrift(Motion(), 1).at(-1.0)


HOUR_S = 3600.0


def test_while_nothing_was_moved_nothing_settles():
    for time_s in (0.0, 1e3, 1e6):
        assert not settling(Motion(), 3, [], 0, time_s).any()
    assert not settling(Motion(), 3, [5e3], 0, 4999.0).any()


def test_a_move_starts_an_exponential_approach():
    """Nothing at first, 1 - 1/e of the amplitude after the time constant, all of it in the end."""
    motion = Motion(move_drift_um=0.1, move_time_h=0.5)
    path = np.array([settling(motion, 3, [7200.0], 0, 7200.0 + t) for t in (0.0, 0.5 * HOUR_S, 20 * HOUR_S)])
    assert np.linalg.norm(path, axis=1) == pytest.approx([0.0, 0.1 * (1 - np.exp(-1)), 0.1])
    assert np.cross(path[1], path[2]) == pytest.approx(np.zeros(3), abs=1e-12)


def test_further_moves_go_on_from_where_it_is_and_do_not_pile_up():
    moves_s = [1e3 * k for k in range(1, 60)]
    times_s = np.arange(0.0, 7e4, 100.0)
    path = np.array([settling(Motion(), 3, moves_s, 0, t) for t in times_s])
    fastest = 2 * 0.1 / (0.5 * HOUR_S) * 100.0
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < fastest
    assert np.linalg.norm(path, axis=1).max() < 0.1
    assert not np.allclose(settling(Motion(), 4, moves_s, 0, 7e4), path[-1])


def test_moves_long_ago_can_be_forgotten():
    moves_s = [HOUR_S * k for k in range(1, 40)]
    now_s = 45 * HOUR_S
    assert settling(Motion(), 3, moves_s[9:], 9, now_s) == pytest.approx(settling(Motion(), 3, moves_s, 0, now_s))
