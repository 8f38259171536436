"""Registration against the truth: maps of the continuous cathode pillar under a known affine."""

import numpy as np
import pytest

from xrm_sims.correlate.registration.active_material import sims_active
from xrm_sims.correlate.registration.mutual_information import mutual_information
from xrm_sims.correlate.registration.register import RegisterSettings, Registration, combine, register_to_ct
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.specimen import CathodePillar

VOXEL_UM = 0.2
COUNTS = np.array([[0, 0.5, 0, 0], [460, 0.5, 0.5, 8], [454, 9, 6.3, 1.5], [454, 46, 5, 1.2], [0.5, 3, 0.5, 0.5]])


def mode_change(rng, offset_um=1.0):
    """Scan → specimen as after aligning on the pillar: offset, rotation, small scale and stretch."""
    angle, scale = np.radians(rng.uniform(-1, 1)), 1 + rng.uniform(-0.002, 0.002)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a, b = rng.uniform(-0.001, 0.001, 2)
    return np.column_stack([scale * turn @ [[1 + a, b], [b, 1 - a]], rng.uniform(-offset_um, offset_um, 2)])


def sims_of(pillar, affine, raster, z_um, rng):
    """Counts (channel, row, column) of whatever solid lies in the plane; voids are dark."""
    rows, columns = raster.shape
    r, c = np.indices(raster.shape)
    u = (c - (columns - 1) / 2) * raster.pixel_um + raster.centre_um[0]
    v = (r - (rows - 1) / 2) * raster.pixel_um + raster.centre_um[1]
    xy = apply_affine(affine, np.column_stack([u.ravel(), v.ravel()]))
    code = pillar.material_at(np.column_stack([xy, np.full(len(xy), z_um)]))
    return rng.poisson(COUNTS[code].T.reshape(4, rows, columns))


def corners(raster):
    half = raster.fov_um / 2
    return np.array(raster.centre_um) + half * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])


@pytest.mark.parametrize(("fov_um", "seed"), [(11.8, 1), (15.0, 2), (20.7, 3)])
def test_the_affine_comes_back_within_100_nm_at_the_corners(pillar, pillar_volume, fov_um, seed):
    rng = np.random.default_rng(seed)
    truth, z_um = mode_change(rng), rng.uniform(0.5, 2.5)
    raster = Raster((256, 256), fov_um, 2.2, tuple(rng.uniform(-2, 2, 2)))
    counts = sims_of(pillar, truth, raster, z_um, rng)
    found = register_to_ct(
        sims_active(counts), pillar_volume, VOXEL_UM, raster, z_um + rng.uniform(-0.3, 0.3), np.eye(2, 3)
    )
    apart = apply_affine(found.scan_to_specimen, corners(raster)) - apply_affine(truth, corners(raster))
    error_nm = 1e3 * np.sqrt((apart**2).sum(axis=1).mean())
    assert error_nm < 100
    assert error_nm < 2 * found.sigma_nm
    assert found.sigma_nm < 100
    assert found.exposed_z_um == pytest.approx(z_um, abs=0.1)

    pixels = np.array([[0, 0], [255, 0], [0, 255]])
    scan = (pixels - 127.5) * raster.pixel_um + raster.centre_um
    np.testing.assert_allclose(
        apply_affine(found.sims_to_specimen, pixels), apply_affine(found.scan_to_specimen, scan), atol=1e-9
    )


def deformed(turn_deg=0.0, scale=0.0, stretch=(0.0, 0.0), offset_um=(0.4, -0.3)):
    angle, (a, b) = np.radians(turn_deg), stretch
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([(1 + scale) * turn @ [[1 + a, b], [b, 1 - a]], offset_um])


OUTSIDE = Raster((256, 256), 14.0, 2.2, (0.5, -0.7))


def registered_off_um(pillar, volume, truth, lift_um=0.0, settings=None):
    """Register a map under a known affine, from the identity and a height that is wrong by ``lift_um``.

    Returns the registration and its rms error at the corners in um.
    """
    counts = sims_of(pillar, truth, OUTSIDE, 1.3, np.random.default_rng(100))
    found = register_to_ct(sims_active(counts), volume, VOXEL_UM, OUTSIDE, 1.3 + lift_um, np.eye(2, 3), settings)
    apart = apply_affine(found.scan_to_specimen, corners(OUTSIDE)) - apply_affine(truth, corners(OUTSIDE))
    return found, float(np.sqrt((apart**2).sum(axis=1).mean()))


@pytest.mark.parametrize(
    ("truth", "lift_um"),
    [
        ({"turn_deg": -2.4}, 0.0),
        ({"scale": 0.006}, 0.0),
        ({"stretch": (0.0, 0.004)}, 0.0),
        ({}, -0.55),
        ({"turn_deg": 2.0, "scale": 0.004, "stretch": (0.002, -0.002), "offset_um": (1.4, -1.4)}, -0.4),
        ({"turn_deg": -2.4, "scale": -0.006, "stretch": (-0.003, 0.003), "offset_um": (-1.4, 1.4)}, 0.4),
    ],
)
def test_a_map_two_to_four_sigma_outside_the_prior_is_placed_as_well_as_stated(pillar, pillar_volume, truth, lift_um):
    found, error_um = registered_off_um(pillar, pillar_volume, deformed(**truth), lift_um)
    assert 1e3 * error_um < 2 * found.sigma_nm
    assert found.exposed_z_um == pytest.approx(1.3, abs=0.1)


@pytest.mark.parametrize(
    ("truth", "lift_um", "message"),
    [
        ({"turn_deg": 3.0}, 0.0, "edge of the search range of 2.5 deg"),
        ({"turn_deg": 10.0}, 0.0, "registration: "),
        ({"offset_um": (2.5, 0.0)}, 0.0, "edge of the search range of 1.5 um"),
        ({}, 0.8, "edge of the search range of 0.6 um"),
        ({}, 2.0, "registration: "),
        (
            {"scale": 0.03},
            0.0,
            r"scaled or stretched by [23]\.\d%, the first guess allows 2\.0%; calibrate the scan, or raise prior_scale",
        ),
        ({"scale": -0.1}, 0.0, "scaled or stretched"),
        ({"stretch": (0.0, 0.03)}, 0.0, "scaled or stretched"),
        ({"stretch": (-0.06, 0.0)}, 0.0, "scaled or stretched"),
    ],
)
def test_a_map_far_outside_the_prior_is_refused(pillar, pillar_volume, truth, lift_um, message):
    with pytest.raises(ValueError, match=message):
        registered_off_um(pillar, pillar_volume, deformed(**truth), lift_um)


def test_a_badly_calibrated_scan_is_placed_with_a_wider_prior(pillar, pillar_volume):
    found, error_um = registered_off_um(
        pillar, pillar_volume, deformed(scale=0.03), settings=RegisterSettings(prior_scale=0.02)
    )
    assert 1e3 * error_um < 2 * found.sigma_nm
    assert found.scale == pytest.approx(1.03, abs=0.01)


def test_frames_are_summed(pillar, pillar_volume):
    rng = np.random.default_rng(5)
    raster = Raster((256, 256), 16.0, 0.1)
    truth = mode_change(rng)
    mean = np.stack([sims_of(pillar, truth, raster, 1.0, rng) for _ in range(3)])
    once = register_to_ct(sims_active(mean), pillar_volume, VOXEL_UM, raster, 1.0, np.eye(2, 3))
    summed = register_to_ct(sims_active(mean.sum(axis=0)), pillar_volume, VOXEL_UM, raster, 1.0, np.eye(2, 3))
    np.testing.assert_allclose(once.sims_to_specimen, summed.sims_to_specimen)


def test_a_blank_raster_is_refused(pillar_volume):
    counts = np.random.default_rng(0).poisson(0.01, (4, 256, 256))
    with pytest.raises(ValueError, match="blank"):
        register_to_ct(sims_active(counts), pillar_volume, VOXEL_UM, Raster((256, 256), 12.0, 0.5), 1.0)


def test_a_map_of_something_else_is_refused(pillar, pillar_volume):
    rng = np.random.default_rng(6)
    raster = Raster((256, 256), 16.0, 0.5)
    other = sims_of(CathodePillar(seed=8), np.eye(2, 3), raster, 1.0, rng)
    with pytest.raises(ValueError, match="registration"):
        register_to_ct(sims_active(other), pillar_volume, VOXEL_UM, raster, 1.0, np.eye(2, 3))


def test_an_optimum_beyond_the_search_is_refused(pillar, pillar_volume):
    rng = np.random.default_rng(7)
    raster = Raster((256, 256), 14.0, 0.5)
    counts = sims_of(pillar, np.column_stack([np.eye(2), [2.4, 0.0]]), raster, 1.0, rng)
    with pytest.raises(ValueError, match="registration"):
        register_to_ct(sims_active(counts), pillar_volume, VOXEL_UM, raster, 1.0, np.eye(2, 3))
    wide = register_to_ct(
        sims_active(counts), pillar_volume, VOXEL_UM, raster, 1.0, np.eye(2, 3), RegisterSettings(offset_range_um=3.5)
    )
    assert wide.scan_to_specimen[0, 2] == pytest.approx(2.4, abs=0.2)


def test_a_wrong_depth_is_refused(pillar, pillar_volume):
    raster = Raster((256, 256), 16.0, 0.5)
    counts = sims_of(pillar, np.eye(2, 3), raster, 1.0, np.random.default_rng(8))
    with pytest.raises(ValueError, match="registration"):
        register_to_ct(sims_active(counts), pillar_volume, VOXEL_UM, raster, -1.5, np.eye(2, 3))
    with pytest.raises(ValueError, match="leaves the volume"):
        register_to_ct(sims_active(counts), pillar_volume, VOXEL_UM, raster, 9.0, np.eye(2, 3))


def test_shapes_that_do_not_fit_are_refused(pillar_volume):
    counts = np.random.default_rng(0).poisson(5, (4, 128, 128)) * (np.arange(128) > 60)
    with pytest.raises(ValueError, match="the raster has"):
        register_to_ct(sims_active(counts), pillar_volume, VOXEL_UM, Raster((64, 64), 12.0, 0.5), 1.0)
    with pytest.raises(ValueError, match="2 x 3"):
        register_to_ct(sims_active(counts), pillar_volume, VOXEL_UM, Raster((128, 128), 12.0, 0.5), 1.0, np.eye(3))


def test_mutual_information_of_what_is_known():
    """Nothing of what is independent, all of what is the same: the entropy, log n for n that are as frequent."""
    independent = np.outer([3.0, 5.0, 2.0], [1.0, 4.0, 4.0, 1.0])
    assert mutual_information(independent) == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(7.0 * np.eye(4)) == pytest.approx(np.log(4))
    np.testing.assert_allclose(mutual_information(np.stack([independent.T, np.ones((4, 3))])), 0.0, atol=1e-12)


def placed(shift_nm, sigma_nm):
    affine = np.column_stack([np.eye(2), [1e-3 * shift_nm, 0.0]])
    return Registration(affine, affine, 1.0, 0.02, sigma_nm, 10.0, 0.9, 0.9, 0.0, 1.0)


def test_two_images_of_one_plane_are_taken_combine():
    raster = Raster((100, 100), 10.0, 1.0)
    both, apart_nm = combine(placed(0, 40), placed(100, 80), raster)
    assert apart_nm == pytest.approx(100)
    assert both.scan_to_specimen[0, 2] == pytest.approx(0.02)  # four times the weight
    assert both.sigma_nm == pytest.approx(50)  # half of what they lie apart
    assert both.sims_to_specimen[0, 0] == pytest.approx(0.1)
    assert combine(placed(0, 40), placed(10, 80), raster)[0].sigma_nm == pytest.approx(40)
    with pytest.raises(ValueError, match="placed 400 nm apart, their uncertainties allow 268 nm"):
        combine(placed(0, 40), placed(400, 80), raster)
