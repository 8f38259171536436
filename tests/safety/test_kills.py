"""A short night whose process is killed repeatedly: nothing acquired is lost, nothing is done twice."""

from collections import Counter
from itertools import islice

import pytest

from tests.safety.harness import Night
from tests.safety.moments import moments
from tests.safety.night import STEPS

STEPS_TO_DISK = {"tomography": 150, "milling": 30, "sims_raster": 60}  # approximate numbers
WORDS = {"tomography": 50, "milling": 14, "sims_raster": 24}
KILLS = 100


def test_three_kills(tmp_path):
    """One in each kind of measurement."""
    night = Night(tmp_path / "data")
    seeded = moments(3, STEPS_TO_DISK, WORDS)
    for name in STEPS:
        told = night.run(next(moment for moment in seeded if moment.phase == name))
        assert told.phase == name
        assert not told.done
    night.finish()


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_hundred_kills(tmp_path):
    whole = Night(tmp_path / "whole")
    told = whole.run()
    whole.check()
    seeded = moments(1, *told.counted())
    kills, phases = Counter(), Counter()
    for number in range(KILLS):
        night = Night(tmp_path / f"{number}")
        for moment in islice(seeded, 1 + number % 4):
            told = night.run(moment)
            phases[told.phase] += not told.done
            if told.done:
                break
        night.finish()
        kills += night.kills
        print(f"{kills.total()} kills: {dict(kills)}", flush=True)
        if kills.total() >= KILLS:
            break
    assert kills.total() >= KILLS
    assert set(phases) >= {"opening", *STEPS}
