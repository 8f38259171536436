"""Edge resolution of pillars whose line spread is known."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.special import erf

import recon
from recon.alignment.outline import round_outline

# shares and sigmas in um: of one Gaussian, and of a spot with a narrow core and a wide tail
GAUSS = ((1.0, 0.15),)
SPOT = ((0.26, 0.060), (0.74, 0.259))


def edge(spot, distance_um):
    return sum(share * 0.5 * (1 - erf(distance_um / (np.sqrt(2) * sigma))) for share, sigma in spot)


def width_um(spot):
    def spread(x):
        return sum(share / sigma * np.exp(-0.5 * (x / sigma) ** 2) for share, sigma in spot)

    return 2 * brentq(lambda x: spread(x) - 0.5 * spread(0), 0, 5)


def mtf10_per_um(spot):
    return brentq(lambda f: sum(share * np.exp(-2 * (np.pi * sigma * f) ** 2) for share, sigma in spot) - 0.1, 0, 20)


@cache
def pillar(spot, voxel_um, slices, *, radius_um=8.0, centre_um=(0.0, 0.0), lean=0.0, oval=0.0, pores=0):
    """A blurred pillar of unit level with blurred pores, among them some at its side face."""
    rng = np.random.default_rng(4)
    n = round(2 * (radius_um + 3.2) / voxel_um)
    x, z = (np.arange(count) - (count - 1) / 2 for count in (n, slices))
    x, z = x * voxel_um, z * voxel_um
    holes = [(radius_um * rng.uniform(0.4, 1) ** 0.5, *rng.uniform(0, 1, 3)) for _ in range(pores)]
    out = np.empty((slices, n, n), np.float32)
    for k, height in enumerate(z):
        right, up = x[None, :] - centre_um[0] - lean * height, x[:, None] - centre_um[1]
        distance = np.hypot(right, up) - radius_um * (1 + oval * np.cos(2 * np.arctan2(up, right)))
        out[k] = edge(spot, distance)
        for away, turn, where, size in holes:
            gap = np.sqrt(
                (right - away * np.cos(2 * np.pi * turn)) ** 2
                + (up - away * np.sin(2 * np.pi * turn)) ** 2
                + (height - z[0] - where * (z[-1] - z[0])) ** 2
            )
            out[k] *= 1 - edge(spot, gap - 0.15 - 0.45 * size)
    return out


def noisy(volume, sigma, seed=1):
    return (volume + np.random.default_rng(seed).normal(0, sigma, volume.shape)).astype(np.float32)


@pytest.mark.parametrize("sigma_um", [0.15, 0.25, 0.4])
def test_a_gaussian_edge_has_its_full_width_at_half_maximum(sigma_um):
    volume = pillar(((1.0, sigma_um),), 0.1, 12, centre_um=(0.13, -0.07))
    found = recon.edge_resolution(noisy(volume, 0.04), 0.1)
    assert found.fwhm_um == pytest.approx(2.3548 * sigma_um, rel=0.03)
    assert 0 < found.sigma_um < 0.05 * found.fwhm_um
    assert found.mtf10_per_um == pytest.approx(mtf10_per_um(((1.0, sigma_um),)), rel=0.03)


@pytest.mark.parametrize(
    ("voxel_um", "slices", "noise", "shape"),
    [
        (0.1, 30, 0.1, {"centre_um": (0.53, -0.21)}),
        (0.1, 30, 0.1, {"lean": 0.04, "oval": 0.004}),
        (0.1, 30, 0.1, {"pores": 25}),
        (0.2, 40, 0.05, {"radius_um": 16.0}),  # voxels as wide as the line spread
        (0.05, 32, 0.1, {}),
    ],
)
def test_the_spot_is_read_directly_at_half_of_its_maximum(voxel_um, slices, noise, shape):
    """The width is 208 nm; a Gaussian fit to the same edge would give twice as much."""
    found = recon.edge_resolution(noisy(pillar(SPOT, voxel_um, slices, **shape), noise), voxel_um)
    assert found.fwhm_um == pytest.approx(width_um(SPOT), rel=0.1)
    assert abs(found.fwhm_um - width_um(SPOT)) < 4 * found.sigma_um
    assert found.mtf10_per_um == pytest.approx(mtf10_per_um(SPOT), abs=max(4 * found.mtf10_sigma_per_um, 0.1))


def test_the_error_bar_covers_the_truth():
    """For twelve draws of noise the stated error is that of the draws, and the truth is within two of it."""
    volume = pillar(GAUSS, 0.1, 12, centre_um=(0.13, -0.07))
    found = [recon.edge_resolution(noisy(volume, 0.1, seed), 0.1) for seed in range(12)]
    off = np.array([each.fwhm_um for each in found]) - width_um(GAUSS)
    stated = np.array([each.sigma_um for each in found])
    assert np.median(stated) < 5 * off.std()
    assert np.mean(np.abs(off) < 2 * stated) > 0.8


def test_noise_as_strong_as_a_third_of_the_pillar():
    """The noise of 1,453 counts in a voxel of 50 nm without regularisation."""
    found = recon.edge_resolution(noisy(pillar(((1.0, 0.1),), 0.05, 32), 0.35), 0.05)
    assert found.fwhm_um == pytest.approx(0.2355, abs=max(3 * found.sigma_um, 0.01))
    assert found.sigma_um < 0.1 * found.fwhm_um


def test_correlated_noise_is_in_the_error_too():
    volume = pillar(GAUSS, 0.1, 12, centre_um=(0.13, -0.07))
    noise = gaussian_filter(np.random.default_rng(2).normal(0, 1, volume.shape), 1.5)
    found = recon.edge_resolution((volume + 0.1 * noise / noise.std()).astype(np.float32), 0.1)
    assert abs(found.fwhm_um - width_um(GAUSS)) < 3 * found.sigma_um


def test_curves_and_figures_agree():
    found = recon.edge_resolution(noisy(pillar(GAUSS, 0.1, 12, centre_um=(0.13, -0.07)), 0.02), 0.1)
    curves = found.curves
    step_um = curves.distance_um[1] - curves.distance_um[0]
    assert (curves.line_spread_per_um * step_um).sum() == pytest.approx(1, abs=0.02)
    assert np.interp(found.mtf10_per_um, curves.frequency_per_um, curves.modulation) == pytest.approx(0.1, abs=0.005)
    assert set(found.as_dict()) == {"fwhm_um", "sigma_um", "mtf10_per_um", "mtf10_sigma_per_um", "patches"}


def test_the_axis_is_found_to_a_tenth_of_a_voxel():
    volume = pillar(((1.0, 0.2),), 0.1, 12, centre_um=(0.53, -0.21))
    assert round_outline(volume).axis_um(volume.shape, 0.1) == pytest.approx((0.53, -0.21), abs=0.01)


@pytest.mark.parametrize("volume", [np.zeros((8, 64, 64), np.float32), np.ones((8, 64, 64), np.float32)])
def test_without_a_round_edge_it_refuses(volume):
    with pytest.raises(ValueError, match="outline"):
        recon.edge_resolution(volume, 0.1)


def test_a_pillar_too_thin_for_its_edge_is_refused():
    thin = pillar(GAUSS, 0.1, 8, radius_um=2.5)
    with pytest.raises(ValueError, match="too small for its edge"):
        recon.edge_resolution(thin, 0.1)
