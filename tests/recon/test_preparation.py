import numpy as np
import pytest

import recon

ROWS, COLUMNS = 12, 30


def scan(seed=1, views=8, beam=1453.0):
    """Absorbing columns in the middle, open air beside them, an individual gain of each pixel."""
    rng = np.random.default_rng(seed)
    gain = rng.normal(1, 0.05, (ROWS, COLUMNS))
    p = np.zeros((views, ROWS, COLUMNS))
    p[:, :, 10:20] = 1.2
    current = np.linspace(400, 380, views)
    counts = rng.poisson(beam * gain * (current / 400)[:, None, None] * np.exp(-p))
    flats = rng.poisson(np.broadcast_to(beam * gain, (50, ROWS, COLUMNS)))
    return p, counts, flats, current


def test_integrals_and_their_scatter():
    """Mean and rms of the error follow from the counts: var = 1 / N + 1 / (50 N0)."""
    p, counts, flats, current = scan(views=40)
    found, _ = recon.line_integrals(counts, flats, current_na=current, flat_current_na=np.full(50, 400.0))
    behind = (found - p)[:, :, 10:20]
    sigma = np.sqrt(np.exp(1.2) / 1453 / 0.975 + 1 / 1453 / 50)
    assert behind.std() == pytest.approx(sigma, rel=0.06)
    assert abs(behind.mean()) < 5 * sigma / np.sqrt(behind.size) + 2e-3


def test_open_air_fixes_an_unknown_beam_current():
    p, counts, flats, _ = scan(beam=1e5)
    found, _ = recon.line_integrals(counts, flats)
    assert np.abs((found - p).mean(axis=(1, 2))).max() < 2e-3


def test_darks_are_subtracted():
    p, counts, flats, current = scan(beam=1e5)
    darks = np.full((2, ROWS, COLUMNS), 5000)
    found, _ = recon.line_integrals(
        counts + 5000, flats + 5000, darks, current_na=current, flat_current_na=np.full(50, 400.0)
    )
    assert np.abs(found - p).max() < 0.05


def test_bad_and_dead_pixels_are_filled_and_have_no_weight():
    _, counts, flats, _ = scan(beam=1e5)
    bad = np.zeros((ROWS, COLUMNS), bool)
    bad[3, 14] = bad[0, 0] = True
    counts[:, 3, 14] = 3
    counts[:, 7, 12:14] = 0
    flats[:, 7, 12:14] = 0
    found, trust = recon.line_integrals(counts, flats, bad_pixels=bad)
    assert (trust[:, [3, 0, 7, 7], [14, 0, 12, 13]] == 0).all()
    assert np.count_nonzero(trust[0] == 0) == 4
    np.testing.assert_allclose(found[:, [3, 7, 7], [14, 12, 13]], 1.2, atol=0.05)


def test_zero_counts_are_finite_with_a_small_weight():
    _, counts, flats, _ = scan()
    counts[2, 5, 15] = 0
    found, trust = recon.line_integrals(counts, flats, outliers=False)
    assert np.isfinite(found).all()
    assert found[2, 5, 15] == pytest.approx(np.log(1453 / 0.5), abs=0.3)
    assert trust[2, 5, 15] < 0.01
    assert trust.max() == 1


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("flats", np.zeros((3, ROWS, COLUMNS)), "flats: 360 of 360 pixels counted nothing"),
        ("flats", np.zeros((0, ROWS, COLUMNS)), r"flats: got shape \(0, 12, 30\)"),
        ("darks", np.zeros((2, ROWS, COLUMNS + 1)), r"darks: got shape \(2, 12, 31\), needs \(n, 12, 30\)"),
        ("projections", np.ones((4, ROWS)), r"counts: got shape \(4, 12\)"),
        (
            "projections",
            np.full((4, ROWS, COLUMNS), np.nan),
            "counts: numbers that are not finite in frames 0, 1, 2, 3",
        ),
        ("current_na", np.ones(8), "current_na: known for either flats or projections only"),
        ("flat_current_na", np.zeros(50), "flat_current_na: needs 50 positive numbers"),
        ("bad_pixels", np.zeros((2, 2)), r"bad_pixels: got shape \(2, 2\)"),
        ("bad_pixels", np.ones((ROWS, COLUMNS)), "bad_pixels: every pixel is bad"),
    ],
)
def test_refusals(argument, value, message):
    _, counts, flats, _ = scan()
    with pytest.raises(ValueError, match=message):
        recon.line_integrals(**({"projections": counts, "flats": flats} | {argument: value}))
