"""Corrections of outliers, rings, drifting flats, unusable pixels and beam hardening; clean data are not changed."""

import warnings

import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import (
    Phantom,
    exact_projections,
    parallel_geometry,
    pillar_with_spheres,
    rms_error,
    scan_geometry,
    truth,
)
from recon.frames.flat_field import FlatField
from recon.frames.outliers import remove_outliers
from recon.frames.rings import ring_errors

OPEN_BEAM = 1453.0


@pytest.fixture(scope="module")
def pillar():
    """Projections of at most 1.4, their scan and the true volume."""
    geometry = scan_geometry(96, 24, 120)
    phantom = pillar_with_spheres(96, 24, seed=7)
    p = exact_projections(phantom, geometry)
    return 1.4 / p.max() * p, geometry, 1.4 / p.max() * truth(phantom, geometry.volume_shape)


def counted(p, beam, seed=0):
    """Noisy line integrals and their inverse variances."""
    counts = np.maximum(np.random.default_rng(seed).poisson(beam * np.exp(-p)), 0.5).astype(np.float32)
    return np.log(np.float32(beam) / counts), counts


@pytest.mark.parametrize("beam", [20.0, 200.0, OPEN_BEAM])
def test_counting_noise_alone_holds_no_outlier(pillar, beam):
    """At most one false outlier in 10^5 of 276,000 readings with edges and grains."""
    p, weights = counted(pillar[0], beam)
    assert remove_outliers(p, weights).sum() <= 2


def test_zingers_are_found_and_replaced(pillar):
    """Fifty readings with 400 to 5,000 counts too many, some on edges: 400 are 9 sigmas in air, 16 in the middle."""
    exact = pillar[0]
    p, weights = counted(exact, OPEN_BEAM)
    rng = np.random.default_rng(2)
    where = tuple(rng.integers(0, n, 50) for n in p.shape)
    weights[where] += rng.uniform(400, 5000, 50).astype(np.float32)
    p[where] = np.log(np.float32(OPEN_BEAM) / weights[where])
    found = remove_outliers(p, weights)
    hit = weights[where] == 0
    assert hit.mean() > 0.9
    assert found.sum() == np.count_nonzero(hit)
    assert np.sqrt(np.mean((p[where] - exact[where])[hit] ** 2)) < 0.06  # one reading in the middle scatters by 0.053


def test_rings_are_removed_and_a_clean_scan_is_not_changed(pillar):
    """Gain errors of 2.5 % that are not in the flats, at a dose where rings dominate."""
    exact, geometry, volume = pillar
    p, weights = counted(exact, 50 * OPEN_BEAM)
    gain = np.random.default_rng(3).normal(0, 0.025, p.shape[1:]).astype(np.float32)
    assert np.abs(ring_errors(p, weights)).mean() < 2e-4
    inside = np.s_[:, 30:66]
    left = (gain - ring_errors(p + gain, weights))[inside]
    assert left.std() < 0.85 * gain[inside].std()
    trust = weights / weights.max()
    error = [
        rms_error(recon.sart(q, geometry, weights=trust).volume, volume)
        for q in (p, p + gain, p + gain - ring_errors(p + gain, weights))
    ]
    assert error[2] < error[1]


def test_a_plain_cylinder_on_the_axis_is_no_ring():
    geometry = scan_geometry(96, 24, 120)
    p, weights = counted(exact_projections(Phantom(np.zeros((0, 5)), (30.0, 7.0, 0.02)), geometry), OPEN_BEAM)
    assert np.abs(ring_errors(p, weights)).max() < 3e-3  # a tenth of the noise of one reading


def test_the_open_beam_is_interpolated_between_rounds_of_flats():
    """The beam profile tilts by 10 % over the scan, with 20 flats before and after it."""
    rng = np.random.default_rng(4)
    tilt = np.linspace(-0.1, 0.1, 64)[None, :] * np.ones((48, 1))
    when = np.r_[np.arange(20.0), 1000 + np.arange(20.0)]
    flats = rng.poisson(OPEN_BEAM * (1 + tilt * (when > 500)[:, None, None]))
    field = FlatField(flats, times_s=when)
    times = np.array([10.0, 505.0, 1010.0])
    counts = 1e6 * OPEN_BEAM / OPEN_BEAM * (1 + tilt * np.array([0, 0.5, 1])[:, None, None])
    p, _ = field.integrals(counts, times_s=times)
    p -= p.mean(axis=(1, 2), keepdims=True)
    constant = 1 / np.sqrt(40 * OPEN_BEAM)  # noise of the mean flat, the same in all views
    assert np.abs(p - p.mean(axis=0)).max() < 5e-3
    assert p.std() < 1.3 * constant
    same = FlatField(rng.poisson(OPEN_BEAM, (40, 48, 64)), times_s=when)
    np.testing.assert_array_equal(same.integrals(counts, times_s=times)[0], same.integrals(counts)[0])


def test_unusable_pixels_and_seams_are_found_without_a_map():
    rng = np.random.default_rng(5)
    gain = rng.normal(1, 0.03, (40, 64))
    gain[:, 31:33] *= 1.5
    flats = rng.poisson(OPEN_BEAM * gain, (20, 40, 64)).astype(float)
    darks = rng.poisson(0.01, (5, 40, 64)).astype(float)
    flats[:, 3, 4] = 0
    darks[:, 7, 8] += 45_000
    flats[:, 7, 8] += 45_000
    flats[:, 11, 12] *= rng.choice([0.8, 1.2], 20)
    flats[9, 20, 20] = 30_000  # a single zinger makes no bad pixel
    field = FlatField(flats, darks)
    assert sorted(zip(*(i.tolist() for i in np.nonzero(field.bad)), strict=True)) == [(3, 4), (7, 8), (11, 12)]
    assert np.flatnonzero(field.seams).tolist() == [31, 32]
    assert field.variance_per_count == pytest.approx(1.0, abs=0.03)
    assert field.open_beam[20, 20] == pytest.approx(OPEN_BEAM * gain[20, 20], rel=5 / np.sqrt(19 * OPEN_BEAM))
    _, weights = field.integrals(rng.poisson(OPEN_BEAM * gain, (4, 40, 64)))
    assert (weights[:, field.bad] == 0).all()
    assert np.median(weights[:, :, 31:33]) == pytest.approx(0.75 * np.median(weights), rel=0.05)


def test_flats_without_open_beam_are_named_and_left_out():
    flats = np.random.default_rng(6).poisson(OPEN_BEAM, (8, 24, 32)).astype(float)
    flats[3] = 0
    flats[5] *= 0.4
    with pytest.warns(UserWarning, match=r"flats: frames 3, 5 of 8 are not as bright as the others \(0, 0.4 of"):
        field = FlatField(flats)
    assert field.open_beam.mean() == pytest.approx(OPEN_BEAM, rel=5e-3)


def test_a_full_counter_is_recognised_named_and_not_trusted():
    rng = np.random.default_rng(7)
    flats = rng.poisson(4200, (6, 24, 32)).clip(max=4095)
    counts = rng.poisson(3000, (9, 24, 32)).clip(max=4095)
    counts[2, 5:9, 5:9] = 4095
    counts[4, 1] = 4095
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"flats: \d+ of 768 pixels are at the counter's end of 4095 counts"):
            recon.line_integrals(counts, flats)
    with pytest.warns(UserWarning, match="pixels in frames 2, 4 are at the counter's end of 4095 counts"):
        p, trust = recon.line_integrals(counts, rng.poisson(3500, (6, 24, 32)))
    np.testing.assert_array_equal(trust[4, 1], 0)
    assert np.abs(p[4, 1] - np.log(3500 / 3000)).max() < 0.1


def test_beam_hardening_is_found_from_the_data():
    """A pillar with voids in a beam of two energies: the correction is that of Beer and Lambert to 3 % of p."""
    geometry = scan_geometry(96, 24, 120)
    voids = [(x, y, z, 4.0, -0.02) for x in (-20, -8, 8, 20) for y in (-14, 0, 14) for z in (-8, 2)]
    phantom = Phantom(np.array(voids, float), (30.0, 9.0, 0.02))
    path = exact_projections(phantom, geometry) / 0.02
    assert recon.beam_hardening_correction(0.02 * path, geometry).k < 0.02

    def two_energies(x):
        return -np.log(0.6 * np.exp(-0.04 * x) + 0.4 * np.exp(-0.015 * x))

    p, weights = counted(two_energies(path), OPEN_BEAM)
    trust = weights / weights.max()
    found = recon.beam_hardening_correction(p, geometry, weights=trust)
    thick = np.linspace(10, float(path.max()), 20)
    wanted = (0.6 * 0.04 + 0.4 * 0.015) * thick
    np.testing.assert_allclose(found(two_energies(thick).astype(np.float32)), wanted, rtol=0.05)


def test_several_materials_are_not_corrected(pillar):
    p, geometry, _ = pillar
    assert recon.beam_hardening_correction(p, geometry).k == 0


def test_beam_hardening_of_two_rows():
    """A detector with fewer rows than the binning, as for a single slice at a synchrotron."""
    geometry = parallel_geometry(640, 2, 40)
    p = exact_projections(Phantom(np.array([[0.0, 0.0, 0.0, 200.0, 0.005]])), geometry)
    assert recon.beam_hardening_correction(p, geometry).k == 0.0  # too low to tell the inside of a material
