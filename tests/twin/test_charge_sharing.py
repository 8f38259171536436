import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from xrm_sims.settings import Detector
from xrm_sims.twin.charge_sharing import CrossTalk, sharing

PITCH_UM = 55.0


def _with(sigma_um, noise_kev=0.29):
    return Detector(charge_sigma_um=sigma_um, threshold_noise_kev=noise_kev)


def _photons(energy_kev, sigma_um, noise_kev, number, seed):
    """Simulate single photons in the middle of 3 x 3 pixels; return which pixels count each, (3, 3, number)."""
    rng = np.random.default_rng(seed)
    place_um = rng.uniform(-0.5 * PITCH_UM, 0.5 * PITCH_UM, (2, number))
    borders_um = (np.arange(4) - 1.5)[:, None, None] * PITCH_UM
    down, across = np.diff(ndtr((borders_um - place_um) / sigma_um), axis=0).swapaxes(0, 1)
    charge_kev = energy_kev * down[:, None] * across[None, :]
    return charge_kev + rng.normal(0, noise_kev, charge_kev.shape) > 4.0


@pytest.mark.parametrize(("energy_kev", "sigma_um"), [(5.0, 5.0), (8.4, 5.0), (12.0, 5.0), (12.0, 8.0), (20.0, 7.0)])
def test_as_many_counts_as_when_photons_are_followed_one_by_one(energy_kev, sigma_um):
    counted = _photons(energy_kev, sigma_um, 0.29, 300_000, 1)
    found = sharing([energy_kev], _with(sigma_um), 4.0)
    number = counted.shape[-1]
    per_photon = counted.sum(axis=(0, 1))
    assert found.counts[0] == pytest.approx(per_photon.mean(), abs=5 * per_photon.std() / np.sqrt(number))
    elsewhere = per_photon - counted[1, 1]
    assert 4 * found.strayed[0] == pytest.approx(elsewhere.mean(), abs=5 * elsewhere.std() / np.sqrt(number) + 1e-4)
    pairs = (counted[1:] & counted[:-1]).sum(axis=(0, 1)) + (counted[:, 1:] & counted[:, :-1]).sum(axis=(0, 1))
    assert 2 * found.paired[0] == pytest.approx(pairs.mean(), abs=5 * pairs.std() / np.sqrt(number) + 1e-4)


def test_a_threshold_of_half_the_energy_counts_each_photon_once_but_for_the_corners():
    """At a border one of the two pixels collects more than half. Around a corner no pixel does in the area between the
    curves where the product of two normal distributions is one half."""
    x = (np.arange(80_000) + 0.5) * 1e-4
    corner = 4 * ndtri(0.5 / ndtr(x)).sum() * 1e-4
    for energy_kev in (8.0, 12.0):
        found = sharing([energy_kev], _with(5.0, noise_kev=0.02), energy_kev / 2)
        assert found.counts[0] == pytest.approx(1 - corner * (5.0 / PITCH_UM) ** 2, abs=0.002)
        assert found.paired[0] == pytest.approx(0, abs=0.002)


def test_a_pixel_grows_or_shrinks_by_the_distance_at_which_its_share_meets_the_threshold():
    """The strip along a border is sigma * z(T / E) wide; corners of a small cloud are of the order sigma squared."""
    sigma_um = 1.0
    for energy_kev in (5.0, 6.0, 10.0, 15.0):
        strip_um = -sigma_um * ndtri(4.0 / energy_kev)
        width = 1 + 2 * strip_um / PITCH_UM
        found = sharing([energy_kev], _with(sigma_um, noise_kev=0.02), 4.0)
        assert found.counts[0] == pytest.approx(width**2, abs=8 * (sigma_um / PITCH_UM) ** 2)
        assert found.paired[0] == pytest.approx(max(0.0, 2 * strip_um / PITCH_UM), abs=8 * (sigma_um / PITCH_UM) ** 2)


def test_without_a_cloud_every_photon_stays_where_it_is():
    found = sharing([3.0, 4.0, 5.0], _with(0.0), 4.0)
    assert found.counts == pytest.approx([0.0003, 0.5, 0.9997], abs=0.001)
    assert not found.strayed.any()
    assert not found.paired.any()
    assert found.crosstalk([1.0, 1.0, 1.0]) == CrossTalk(0.0, 0.0)


def test_a_narrower_and_narrower_cloud_ends_at_none():
    energies = np.array([5.0, 8.4, 15.0])
    none = sharing(energies, _with(0.0), 4.0).counts
    assert sharing(energies, _with(0.01), 4.0).counts == pytest.approx(none, abs=1e-3)


def test_crosstalk_is_the_average_over_the_counts():
    found = sharing([6.0, 12.0], _with(5.0), 4.0)
    mixed = found.crosstalk([3.0, 1.0])
    assert mixed.paired == pytest.approx(
        (3 * found.paired[0] + found.paired[1]) / (3 * found.counts[0] + found.counts[1])
    )
    assert found.crosstalk([0.0, 0.0]) == CrossTalk()


def test_a_cloud_as_wide_as_the_pixel_is_refused():
    with pytest.raises(ValueError, match=r"charge_sigma_um: needs 0 to a quarter of the 55 um pixel, .* got 20"):
        sharing([8.4], _with(20.0), 4.0)
