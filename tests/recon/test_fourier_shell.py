"""Fourier shell correlation of volumes with known agreement, and of volumes from half of the views each."""

from functools import partial

import numpy as np
import pytest
from scipy import fft

import recon
from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, scan_geometry
from recon.frames.prepare import Prepared

SHAPE, VOXEL_UM = (48, 96, 96), 0.1
STEP_PER_UM = 1 / (48 * VOXEL_UM)


def white(seed):
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def filtered(noise, transmits):
    """Noise through a transfer function of the frequency in cycles per um."""
    fz, fy, fx = (fft.fftfreq(n, VOXEL_UM) for n in SHAPE)
    frequency = np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + fx**2)
    return fft.ifftn(fft.fftn(noise) * transmits(frequency)).real.astype(np.float32)


correlation = partial(recon.fourier_shell_correlation, voxel_um=VOXEL_UM)


def test_identical_volumes_agree_everywhere():
    same = correlation(white(0), white(0))
    np.testing.assert_allclose(same.correlation, 1, atol=1e-5)
    assert same.crossing() is None


@pytest.mark.parametrize("mask", [None, 3.0])
def test_independent_noise_agrees_nowhere(mask):
    z = []
    for seed in range(10):
        shell = correlation(white(2 * seed), white(2 * seed + 1), mask=mask)
        z.append(shell.correlation / shell.sigma)
        assert shell.crossing().frequency_per_um == pytest.approx(STEP_PER_UM, rel=0.1)
    z = np.array(z)
    assert abs(z.mean()) < 5 * z.std() / np.sqrt(z.size)
    # the count of independent coefficients under the mask is an estimate on the safe side
    assert 0.7 < z.std() < 1.1


@pytest.mark.parametrize("mask", [None, 3.0])
def test_the_curve_is_snr_over_one_plus_snr_and_crosses_where_it_has_to(mask):
    """Signal of power 20 exp(-(f / 1.5)^2) times that of the noise, in each of two volumes."""
    found = []
    for seed in range(8):
        signal = filtered(white(1000 + seed), lambda f: np.sqrt(20) * np.exp(-0.5 * (f / 1.5) ** 2))
        shell = correlation(signal + white(2 * seed), signal + white(2 * seed + 1), mask=mask)
        snr = 20 * np.exp(-((shell.frequency_per_um / 1.5) ** 2))
        np.testing.assert_allclose(shell.correlation[3:], (snr / (1 + snr))[3:], atol=0.1)
        for threshold in (None, 0.143, 0.5):
            level = shell.half_bit if threshold is None else threshold
            expected = np.interp(0, -(snr / (1 + snr) - level)[4:], shell.frequency_per_um[4:])
            crossing = shell.crossing(threshold)
            found.append((crossing.frequency_per_um - expected) / crossing.sigma_per_um)
    assert np.mean(np.abs(found) < 2) > 0.9


def test_a_sharp_band_limit_is_found_to_a_shell():
    signal = 3 * filtered(white(1), lambda f: f < 2.0)
    crossing = correlation(signal + white(2), signal + white(3)).crossing()
    assert crossing.frequency_per_um == pytest.approx(2.0, abs=1.2 * STEP_PER_UM)
    assert crossing.resolution_um == pytest.approx(1 / crossing.frequency_per_um)


def test_a_threshold_falls_from_one_with_the_coefficients():
    shell = correlation(white(0), white(1))
    assert (np.diff(shell.half_bit[1:]) < 0).all()
    assert shell.half_bit[-1] == pytest.approx(0.2071 / 1.2071, abs=0.05)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"b": np.zeros((8, 8, 9))}, "b: got shape"),
        ({"a": np.zeros((8, 8))}, "a: got shape"),
        ({"a": np.full((8, 8, 8), np.nan)}, "a: needs finite"),
        ({"voxel_um": 0.0}, "voxel_um: needs"),
        ({"mask": 5.0}, "mask: needs a radius"),
        ({"mask": np.ones((8, 8, 7))}, "mask: got shape"),
        ({"mask": np.zeros((8, 8, 8))}, "mask: needs weights"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(change, told):
    fine = {"a": np.ones((8, 8, 8)), "b": np.ones((8, 8, 8)), "voxel_um": 0.1}
    with pytest.raises(ValueError, match=told):
        recon.fourier_shell_correlation(**(fine | change))


def test_halves_of_a_scan_agree_up_to_the_noise():
    """More counts, finer agreement; both halves have the scan's volume."""
    geometry = scan_geometry(64, 24, 120)
    exact = exact_projections(pillar_with_spheres(64, 24, 3, 60), geometry)
    crossings = []
    for counts in (300, 30_000):
        noisy = np.random.default_rng(1).poisson(counts * np.exp(-exact))
        p = -np.log(np.maximum(noisy, 0.5) / counts).astype(np.float32)
        times = np.arange(120.0)
        prepared = Prepared(geometry, p, np.ones_like(p), times, None, np.zeros(0), ("a",))
        seen = []
        even, odd = recon.half_volumes(prepared, progress=lambda stage, _, seen=seen: seen.append(stage))
        assert even.shape == odd.shape == geometry.volume_shape
        assert set(seen) == {"even views", "odd views"}
        crossing = recon.fourier_shell_correlation(even, odd, geometry.voxel_um, mask=18.0).crossing(0.5)
        crossings.append(0.5 if crossing is None else crossing.frequency_per_um)
    assert crossings[0] < 0.8 * crossings[1]
    with pytest.raises(ValueError, match="four views"):
        recon.half_volumes(prepared, geometry.only(np.arange(3)))
