import numpy as np
import pytest

from xrm_sims.settings import Detector as DetectorSettings
from xrm_sims.settings import Settings
from xrm_sims.twin.detector import Detector

IDEAL = Settings(
    detector=DetectorSettings(gain_dispersion=0, bad_pixel_fraction=0, seam_width_factor=1, dark_rate_cps=0)
)


def _read(settings, expected, *, seed=1, draw=0, exposure_s=90.0, bits=24, binning=4):
    return Detector(settings, seed).read(
        expected, exposure_s=exposure_s, counter_depth_bits=bits, binning=binning, rng=np.random.default_rng(draw)
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


def test_counters_end():
    assert _read(IDEAL, np.full((256, 1280), 1e5), bits=12, binning=1).max() == 4095
    assert _read(IDEAL, np.full((64, 320), 16e5), bits=12).max() == 16 * 4095


def test_gain_seams_and_bad_pixels_belong_to_the_seed():
    settings = Settings()
    flat = np.full((256, 1280), 1e6)
    first = _read(settings, flat, draw=0, binning=1).astype(float)
    again = _read(settings, flat, draw=1, binning=1).astype(float)
    other = _read(settings, flat, seed=2, binning=1).astype(float)
    bad = Detector(settings, 1).bad_pixels(1)
    good = ~bad
    good[:, [c for s in range(256, 1280, 256) for c in (s - 1, s)]] = False
    assert first[good].std() / first[good].mean() == pytest.approx(0.03, rel=0.02)
    assert np.corrcoef(first[good], again[good])[0, 1] > 0.99
    assert abs(np.corrcoef(first[good], other[good])[0, 1]) < 0.02
    seam = first[:, 255][~bad[:, 255]]
    assert seam.mean() / first[good].mean() == pytest.approx(1.5, abs=0.02)
    assert bad.mean() == pytest.approx(0.003, abs=5 * np.sqrt(0.003 / bad.size))


def test_bad_pixels_are_the_dead_and_the_hot_ones():
    detector = Detector(Settings(), 3)
    bad = detector.bad_pixels(1)
    counts = _read(Settings(), np.full((256, 1280), 1000.0), seed=3, binning=1)
    dark = detector.dark_expected(exposure_s=90.0, binning=1)
    assert (counts[bad] == 0).any()
    assert (counts[~bad] > 0).all()
    assert bad[dark > 1].all()
    assert (bad == ((counts == 0) | (dark > 1))).all()


def test_binned_bad_pixels():
    """One hot pixel spoils a binned one, a few dead ones do not."""
    only_dead = Settings(detector=DetectorSettings(hot_share_of_bad=0.0, bad_pixel_fraction=0.01))
    only_hot = Settings(detector=DetectorSettings(hot_share_of_bad=1.0, bad_pixel_fraction=0.01))
    assert not Detector(only_dead, 1).bad_pixels(4).any()
    hot = Detector(only_hot, 1)
    assert np.array_equal(hot.bad_pixels(4), hot.bad_pixels(1).reshape(64, 4, 320, 4).any(axis=(1, 3)))


def test_dark_image():
    """Without beam only hot pixels count, and the rest almost never."""
    detector = Detector(Settings(), 1)
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
        Detector(IDEAL, 1).bad_pixels(3)
