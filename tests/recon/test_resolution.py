"""Edge resolution of a blurred cylinder whose width is known."""

import numpy as np
import pytest
from scipy.special import erf

from recon.outline import round_outline
from recon.resolution import edge_resolution

VOXEL_UM = 0.1


def pillar(sigma_um, centre_um=(0.0, 0.0), radius_um=8.0, noise=0.0, size=200, slices=12):
    x = (np.arange(size) - (size - 1) / 2) * VOXEL_UM
    distance = np.hypot(x[None, :] - centre_um[0], x[:, None] - centre_um[1]) - radius_um
    disc = 0.05 * 0.5 * (1 - erf(distance / (np.sqrt(2) * sigma_um)))
    volume = np.repeat(disc[None], slices, axis=0)
    return (volume + np.random.default_rng(1).normal(0, noise, volume.shape)).astype(np.float32)


@pytest.mark.parametrize("sigma_um", [0.15, 0.25, 0.4])
def test_a_gaussian_edge_has_its_full_width_at_half_maximum(sigma_um):
    found = edge_resolution(pillar(sigma_um, (0.13, -0.07), noise=0.002), VOXEL_UM)
    # the derivative is a difference over two steps of a quarter voxel, which adds next to nothing
    assert found.fwhm_um == pytest.approx(2.3548 * sigma_um, rel=0.04)
    assert 0 < found.sigma_um < 0.05 * found.fwhm_um


def test_the_axis_is_found_to_a_tenth_of_a_voxel():
    volume = pillar(0.2, (0.53, -0.21))
    assert round_outline(volume).axis_um(volume.shape, VOXEL_UM) == pytest.approx((0.53, -0.21), abs=0.01)


@pytest.mark.parametrize("volume", [np.zeros((8, 64, 64), np.float32), np.ones((8, 64, 64), np.float32)])
def test_without_a_round_edge_it_refuses(volume):
    with pytest.raises(ValueError, match="outline"):
        edge_resolution(volume, VOXEL_UM)
