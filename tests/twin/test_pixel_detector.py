import numba
import numpy as np
import pytest

from xrm_sims.settings import Detector, Settings
from xrm_sims.twin.charge_sharing import CrossTalk
from xrm_sims.twin.pixel_detector import PixelDetector, poisson

IDEAL = Settings(detector=Detector(gain_dispersion=0, bad_pixel_fraction=0, seam_width_factor=1, dark_rate_cps=0))


SHARED = CrossTalk(strayed=0.012, paired=0.024)


def _read(settings, expected, *, seed=1, draw=0, exposure_s=90.0, bits=24, binning=4, **crosstalk):
    rng = np.random.default_rng(draw)
    return PixelDetector(settings, seed).read(
        expected, exposure_s=exposure_s, counter_depth_bits=bits, binning=binning, rng=rng, **crosstalk
    )


def test_counts_are_poisson():
    """The sum of (counts - mean)² / mean over pixels is chi-square distributed."""
    counts = _read(IDEAL, np.full((256, 1280), 50.0), binning=1)
    assert counts.dtype == np.uint32
    chi2 = ((counts - 50.0) ** 2 / 50.0).sum() / counts.size
    assert chi2 == pytest.approx(1, abs=5 * np.sqrt(2.02 / counts.size))
    assert counts.mean() == pytest.approx(50, abs=5 * np.sqrt(50 / counts.size))


@pytest.mark.parametrize("bits", [12, 24])
def test_binned_counts_are_poisson_whether_or_not_counters_are_looked_at_one_by_one(bits):
    expected = np.full((64, 320), 16 * 3700.0 if bits == 12 else 16 * 50.0)
    counts = _read(IDEAL, expected, bits=bits)
    assert counts.mean() == pytest.approx(expected[0, 0], rel=1e-5, abs=5 * np.sqrt(expected[0, 0] / counts.size))
    assert counts.var() == pytest.approx(expected[0, 0], rel=5 * np.sqrt(2 / counts.size))


def test_dead_time_is_monotone_and_non_paralyzable():
    rates_cps = np.array([1e3, 1e5, 1e6, 1e7, 1e8])
    means = np.array([_read(IDEAL, np.full((64, 320), 16 * r), exposure_s=1.0).mean() / 16 for r in rates_cps])
    expected = rates_cps / (1 + rates_cps * 100e-9)
    assert (np.diff(means) > 0).all()
    assert means == pytest.approx(expected, rel=5 / np.sqrt(1e3 * 64 * 320 * 16) + 1e-5)


def test_dead_time_that_every_event_prolongs():
    """Paralyzable: n exp(-n tau), which falls again beyond 1 / tau."""
    settings = IDEAL.model_copy(update={"detector": IDEAL.detector.model_copy(update={"paralyzable": True})})
    rates_cps = np.array([1e3, 1e6, 1e7, 3e7])
    means = np.array([_read(settings, np.full((64, 320), 16 * r), exposure_s=1.0).mean() / 16 for r in rates_cps])
    assert means == pytest.approx(rates_cps * np.exp(-rates_cps * 100e-9), rel=5 / np.sqrt(1e3 * 64 * 320 * 16) + 1e-5)
    assert means[3] < means[2]


def _neighbours(counts, mean):
    """Return the covariance of neighbours over the mean: along rows, along columns, across corners."""
    z = (counts - mean) / np.sqrt(mean)
    return [np.mean(a * b) for a, b in ((z[:, 1:], z[:, :-1]), (z[1:], z[:-1]), (z[1:, 1:], z[:-1, :-1]))]


def test_shared_photons_leave_each_pixel_poisson_and_tie_it_to_its_neighbours():
    """Chi-square per pixel stays 1; the covariance of neighbours is the number of photons that both count."""
    counts = _read(IDEAL, np.full((256, 1280), 700.0), binning=1, crosstalk=SHARED).astype(float)
    inner = counts[1:-1, 1:-1]
    assert inner.mean() == pytest.approx(700, abs=5 * np.sqrt(1.1 * 700 / inner.size))
    assert ((inner - 700) ** 2 / 700).mean() == pytest.approx(1, abs=5 * np.sqrt(2 / inner.size))
    noise = 5 / np.sqrt(inner.size)
    assert _neighbours(inner, 700) == pytest.approx([0.024, 0.024, 0.0], abs=noise)
    alone = _read(IDEAL, np.full((256, 1280), 700.0), binning=1).astype(float)
    assert _neighbours(alone, 700) == pytest.approx([0.0, 0.0, 0.0], abs=noise)


def test_binned_or_looked_at_one_by_one_shared_photons_bring_the_same_fluctuations():
    """The variance of binned pixels grows with the pairs inside them: 4 in 2 x 2 pixels, 24 in 4 x 4."""
    for binning, links in ((2, 4), (4, 24)):
        shape = (256 // binning, 1280 // binning)
        mean = 200.0 * binning**2
        expected = 1 + 2 * links * SHARED.paired / binning**2
        noise = 5 * np.sqrt(2 / (shape[0] * shape[1]))
        binned = _read(IDEAL, np.full(shape, mean), binning=binning, crosstalk=SHARED).astype(float)
        single = _read(IDEAL, np.full((256, 1280), 200.0), binning=1, crosstalk=SHARED).astype(float)
        summed = single.reshape(shape[0], binning, shape[1], binning).sum(axis=(1, 3))
        for counts in (binned, summed):
            assert counts.mean() == pytest.approx(mean, rel=5 * np.sqrt(1.2 / (200.0 * single.size)))
            assert counts[1:-1, 1:-1].var() / mean == pytest.approx(expected, rel=noise)
        assert _neighbours(binned, mean)[0] == pytest.approx(SHARED.paired / binning, abs=noise)


def test_a_bright_pixel_shines_on_its_neighbours():
    expected = np.zeros((256, 1280), np.float32)
    expected[100, 600] = 1e6
    counts = _read(IDEAL, expected, binning=1, crosstalk=SHARED)
    assert counts.sum() == pytest.approx(1e6, rel=0.01)
    for row, column in ((99, 600), (101, 600), (100, 599), (100, 601)):
        assert float(counts[row, column]) == pytest.approx(12_000, abs=5 * np.sqrt(12_000))
    assert counts[99, 599] == 0


def test_dead_and_hot_pixels_share_nothing():
    """A dead pixel stays dark beside lit ones, and neighbours do not get dark counts of a hot pixel."""
    settings = Settings(detector=Detector(gain_dispersion=0, seam_width_factor=1, bad_pixel_fraction=0.02))
    detector = PixelDetector(settings, 5)
    counts = _read(settings, np.full((256, 1280), 300.0), seed=5, binning=1, crosstalk=SHARED)
    dark = _read(settings, np.zeros((256, 1280)), seed=5, binning=1, crosstalk=SHARED)
    good = ~detector.bad_pixels(1)
    dead = ~good & (dark == 0)
    assert (counts[dead] == 0).all()
    assert counts[good].mean() == pytest.approx(300, abs=5 * np.sqrt(300 * 1.1 / good.sum()))
    assert dark[good].mean() < 0.02


def test_the_same_seed_draws_the_same_whatever_the_number_of_threads():
    expected = np.random.default_rng(3).uniform(50, 1500, (256, 1280)).astype(np.float32)
    threads = numba.get_num_threads()
    together = _read(Settings(), expected, draw=9, binning=1, crosstalk=SHARED)
    try:
        numba.set_num_threads(1)
        alone = _read(Settings(), expected, draw=9, binning=1, crosstalk=SHARED)
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(together, alone)
    assert (together != _read(Settings(), expected, draw=10, binning=1, crosstalk=SHARED)).any()


def test_poisson_numbers_of_every_size():
    """Mean and variance of blocks of one mean each, from almost none to a million."""
    means = np.array([1e-3, 0.5, 5.0, 40.0, 1e3, 1e6])
    drawn = poisson(np.repeat(means[:, None], 60_000, axis=1), np.random.default_rng(2))
    assert drawn.mean(axis=1) == pytest.approx(means, abs=5 * np.sqrt(means.max() / 60_000))
    chi2 = ((drawn - means[:, None]) ** 2).mean(axis=1) / means
    assert chi2 == pytest.approx(np.ones(6), abs=5 * np.sqrt((2 + 1 / means).max() / 60_000))
    assert ((drawn.mean(axis=1) - means) / np.sqrt(means / 60_000)) == pytest.approx(np.zeros(6), abs=5)


def test_counters_end():
    assert _read(IDEAL, np.full((256, 1280), 1e5), bits=12, binning=1).max() == 4095
    assert _read(IDEAL, np.full((64, 320), 16e5), bits=12).max() == 16 * 4095


def test_gain_seams_and_bad_pixels_belong_to_the_seed():
    settings = Settings()
    flat = np.full((256, 1280), 1e6)
    first = _read(settings, flat, draw=0, binning=1).astype(float)
    again = _read(settings, flat, draw=1, binning=1).astype(float)
    other = _read(settings, flat, seed=2, binning=1).astype(float)
    bad = PixelDetector(settings, 1).bad_pixels(1)
    good = ~bad
    good[:, [c for s in range(256, 1280, 256) for c in (s - 1, s)]] = False
    assert first[good].std() / first[good].mean() == pytest.approx(0.03, rel=0.02)
    assert np.corrcoef(first[good], again[good])[0, 1] > 0.99
    assert abs(np.corrcoef(first[good], other[good])[0, 1]) < 0.02
    seam = first[:, 255][~bad[:, 255]]
    assert seam.mean() / first[good].mean() == pytest.approx(1.5, abs=0.02)
    assert bad.mean() == pytest.approx(0.003, abs=5 * np.sqrt(0.003 / bad.size))


def test_bad_pixels_are_the_dead_and_the_hot_ones():
    detector = PixelDetector(Settings(), 3)
    bad = detector.bad_pixels(1)
    counts = _read(Settings(), np.full((256, 1280), 1000.0), seed=3, binning=1)
    dark = detector.dark_expected(exposure_s=90.0, binning=1)
    assert (counts[bad] == 0).any()
    assert (counts[~bad] > 0).all()
    assert bad[dark > 1].all()
    assert (bad == ((counts == 0) | (dark > 1))).all()


def test_binned_bad_pixels():
    """One hot pixel makes a binned pixel bad, a few dead ones do not."""
    only_dead = Settings(detector=Detector(hot_share_of_bad=0.0, bad_pixel_fraction=0.01))
    only_hot = Settings(detector=Detector(hot_share_of_bad=1.0, bad_pixel_fraction=0.01))
    assert not PixelDetector(only_dead, 1).bad_pixels(4).any()
    hot = PixelDetector(only_hot, 1)
    assert np.array_equal(hot.bad_pixels(4), hot.bad_pixels(1).reshape(64, 4, 320, 4).any(axis=(1, 3)))


def test_dark_image():
    """Without beam only hot pixels count; the others count almost never."""
    detector = PixelDetector(Settings(), 1)
    expected = detector.dark_expected(exposure_s=90.0, binning=4)
    dark = _read(Settings(), np.zeros((64, 320)))
    good = ~detector.bad_pixels(4)
    assert expected[good].max() < 1
    assert dark[good].sum() == pytest.approx(expected[good].sum(), abs=5 * float(np.sqrt(expected[good].sum())))


def test_wrong_shape_and_exposure_are_refused():
    with pytest.raises(ValueError, match=r"expected: needs shape \(64, 320\) at binning 4, got \(256, 1280\)"):
        _read(IDEAL, np.zeros((256, 1280)))
    with pytest.raises(ValueError, match="exposure_s: needs a positive time, got -1"):
        _read(IDEAL, np.zeros((64, 320)), exposure_s=-1.0)
    with pytest.raises(ValueError, match="binning: needs a divisor of 256 rows and 1280 columns, got 3"):
        PixelDetector(IDEAL, 1).bad_pixels(3)
