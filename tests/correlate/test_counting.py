import numpy as np
import pytest

from tests.correlate.rasters import counters, expected, frame, settled
from xrm_sims.correlate.maps.counting import AlignedFrames, Counters, moved

CHANNELS = [{"label": label} for label in ("6Li", "7Li", "27Al", "59Co")]


def pull_is_standard(pull):
    """Mean and spread of independent pulls, within four of their own standard errors."""
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)
    assert abs(pull.std() - 1) < 4 / np.sqrt(2 * pull.size)


def test_corrected_sums_are_the_ions_that_the_twin_sent(pillar):
    pulls = []
    for seed in range(16):
        surface = settled(pillar)
        sent = expected(pillar, surface, seed).sum(axis=(1, 2))
        found = counters().ions(frame(pillar, surface, seed)).over(np.ones((64, 64), bool))
        pulls.append((found.number - sent) / found.error)
    pull_is_standard(np.array(pulls))


@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_dead_time_and_darks_over_the_range_of_rates(loss):
    rng, dwell_s, dead_time_s = np.random.default_rng(1), 0.55e-3, 25e-9
    darks_cps = np.array([0.0, 5.0, 5e3, 1e5])
    observed_cps = np.array([loss / dead_time_s, 1e4, 1e5, 2e5])
    true_cps = observed_cps / (1 - observed_cps * dead_time_s)
    counted = counters(dark_rate_cps=darks_cps)
    counts = rng.poisson(observed_cps[:, None, None] * dwell_s, (100, 4, 64, 64))
    found = counted.ions(counts).over(np.ones((64, 64), bool))
    pull_is_standard((found.number - 64**2 * dwell_s * (true_cps - darks_cps)) / found.error)


def test_collectors_are_read_from_the_documents():
    start = {"uid": "abc", "channels": CHANNELS, "dwell_ms": 0.55}
    configuration = {f"sector_collector_{n}_dead_time_ns": 20.0 + n for n in (1, 2, 3, 4)}
    configuration |= {f"sector_collector_{n}_dark_rate_cps": 1.0 * n for n in (1, 2, 3, 4)}
    read = Counters.from_documents(start, configuration)
    assert read.labels == ("6Li", "7Li", "27Al", "59Co")
    assert read.dead_time_s == pytest.approx([21e-9, 22e-9, 23e-9, 24e-9])
    assert read.dark_rate_cps == pytest.approx([1, 2, 3, 4])
    configuration.pop("sector_collector_3_dark_rate_cps")
    with pytest.raises(ValueError, match="run abc: does not record the dark rate of the collector of 27Al"):
        Counters.from_documents(start, configuration)


def test_counts_beyond_a_counter_and_misshapen_ones_are_refused():
    with pytest.raises(
        ValueError, match=r"counts: 30000 in a dwell of 0.55 ms are more than .* dead time of 25 ns can"
    ):
        counters().ions(np.full((4, 2, 2), 30000))
    with pytest.raises(ValueError, match=r"counts: got shape \(3, 8, 8\), needs \(..., 4 channels, row, column\)"):
        counters().ions(np.zeros((3, 8, 8)))


def test_moved_frames_keep_their_ions_and_their_variance():
    rng = np.random.default_rng(0)
    counts = rng.poisson(50, (3, 4, 40, 40))
    counts[..., [0, 1, 2, -3, -2, -1], :] = counts[..., [0, 1, 2, -3, -2, -1]] = 0  # nothing leaves the field
    still = AlignedFrames(counts, counters(dark_rate_cps=np.zeros(4))).total()
    shift_px = np.array([[0.0, 0.0], [1.25, -0.5], [-2.0, 0.4]])
    summed = AlignedFrames(counts, counters(dark_rate_cps=np.zeros(4)), shift_px).total()
    for one, other in ((summed.ions.number, still.ions.number), (summed.ions.variance, still.ions.variance)):
        np.testing.assert_allclose(one.sum(axis=(1, 2)), other.sum(axis=(1, 2)))
    assert still.whole.all()
    assert summed.whole.sum() == 36 * 38  # a row or column that only part of a pixel reaches is not whole
    assert summed.channel("7Li").number.shape == (40, 40)
    with pytest.raises(ValueError, match="there is no 58Ni, the collectors were set to 6Li, 7Li, 27Al, 59Co"):
        summed.channel("58Ni")


def test_the_error_of_a_region_counts_every_ion_once():
    """A region of a moved sum scatters as its stated error says, however the pixels share their ions."""
    rng, region = np.random.default_rng(3), np.s_[10:30, 12:28]
    values, errors = [], []
    for _ in range(300):
        counts = rng.poisson(20.0, (48, 40)).astype(float)
        values.append(moved(counts, (0.5, -0.3))[region].sum())
        errors.append(np.sqrt(moved(counts, (0.5, -0.3))[region].sum()))
    assert np.std(values) == pytest.approx(np.mean(errors), rel=4 / np.sqrt(600) + 0.05)  # 5 %: the shared rim


def test_counts_of_drifting_frames_stay_counts():
    rng = np.random.default_rng(4)
    one = rng.poisson(3.0, (4, 40, 40))
    shift_px = np.array([[0.0, 0.0], [1.3, -2.4], [-0.6, 0.4]])
    counts = np.stack([np.roll(one, np.round(shift).astype(int), axis=(1, 2)) for shift in shift_px])
    summed = AlignedFrames(counts, counters(), shift_px).counted()
    assert np.array_equal(summed, np.round(summed))
    assert np.array_equal(summed[:, 4:-4, 4:-4], 3 * one[:, 4:-4, 4:-4])
    assert np.array_equal(AlignedFrames(counts, counters()).counted(), counts.sum(axis=0))
