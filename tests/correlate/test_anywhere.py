"""A map of which nobody knows where it lies: found at any angle, refused where it lies nowhere."""

import numpy as np
import pytest

from tests.correlate.test_register import VOXEL_UM, corners, mode_change, sims_of
from xrm_sims.correlate.registration.active_material import sims_active
from xrm_sims.correlate.registration.global_search import AnywhereSettings, coarse_places, register_anywhere
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.specimen import CathodePillar

RASTER = Raster((128, 128), 14.0, 2.2)
FEW = AnywhereSettings(candidates=3)


def elsewhere(rng, turn_deg):
    """Scan → specimen of an instrument that knows nothing of the tomogram's."""
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    near = mode_change(rng)
    return np.column_stack([[[cos, -sin], [sin, cos]] @ near[:, :2], rng.uniform(-9, 9, 2)])


@pytest.mark.parametrize(("turn_deg", "seed"), [(137.0, 1), (-52.3, 2)])
def test_a_map_is_found_at_any_angle(pillar, pillar_volume, turn_deg, seed):
    rng = np.random.default_rng(seed)
    truth, z_um = elsewhere(rng, turn_deg), rng.uniform(0.5, 2.0)
    counts = sims_of(pillar, truth, RASTER, z_um, rng)
    found = register_anywhere(sims_active(counts), pillar_volume, VOXEL_UM, RASTER, z_um + 0.4, FEW)
    apart = apply_affine(found.scan_to_specimen, corners(RASTER)) - apply_affine(truth, corners(RASTER))
    assert 1e3 * np.sqrt((apart**2).sum(axis=1).mean()) < 2 * found.sigma_nm
    assert found.sigma_nm < 150
    assert found.exposed_z_um == pytest.approx(z_um, abs=0.15)
    assert found.lead > FEW.least_lead


def test_the_height_need_not_be_known(pillar, pillar_volume):
    rng = np.random.default_rng(3)
    truth, z_um = elsewhere(rng, 20.0), 1.2
    places = coarse_places(
        sims_active(sims_of(pillar, truth, RASTER, z_um, rng)),
        pillar_volume,
        VOXEL_UM,
        RASTER,
        None,
        AnywhereSettings(rotation_step_deg=10.0),
    )
    best = places[0]
    assert np.hypot(*(apply_affine(truth, [[0.0, 0.0]])[0] - best.centre_um)) < 0.8
    assert best.z_um == pytest.approx(z_um, abs=0.8)


def test_a_map_of_another_specimen_is_found_nowhere(pillar_volume):
    rng = np.random.default_rng(4)
    counts = sims_of(CathodePillar(99), elsewhere(rng, 30.0), RASTER, 1.0, rng)
    with pytest.raises(ValueError, match="registration: "):
        register_anywhere(sims_active(counts), pillar_volume, VOXEL_UM, RASTER, 1.0, FEW)


def test_a_height_outside_the_volume_is_refused(pillar_volume):
    with pytest.raises(ValueError, match="z_um: 90 um is outside the volume"):
        register_anywhere(np.eye(128), pillar_volume, VOXEL_UM, RASTER, 90.0)
