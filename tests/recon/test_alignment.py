import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, random_spheres, scan_geometry
from recon.alignment.moments import moment_start, without_position
from xrm_sims.geometry import ConeGeometry
from xrm_sims.settings import Settings
from xrm_sims.specimen.pillar import CathodePillar
from xrm_sims.twin.xray import XrayModel

WIDTH, HEIGHT, VIEWS = 120, 40, 180
COUNTS = 20000.0


def wandering(seed):
    """Drift and random walk of some pixels, run-out with harmonics of the turn: (views, 2) rows and columns."""
    rng = np.random.default_rng(seed)
    t, phase = np.linspace(0, 1, VIEWS), np.linspace(0, 2 * np.pi, VIEWS, endpoint=False)
    drift = np.outer(t, rng.normal(0, 4, 2)) + np.cumsum(rng.normal(0, 0.1, (VIEWS, 2)), axis=0)
    runout = sum(np.outer(np.cos(k * phase + rng.uniform(0, 6)), rng.normal(0, 0.6, 2)) / k for k in range(1, 6))
    return np.clip(drift, -6, 6) + runout


def displacement(geometry):
    """Displacement (n, 2) of the images including that of the axis."""
    pitch_um = 1e3 * geometry.pixel_mm / geometry.magnification
    return geometry.view_shifts_px + np.array([0.0, geometry.axis_offset_um / pitch_um])


def left_over(found, true, angles_deg):
    difference = found - true
    difference[:, 0] -= difference[:, 0].mean()
    difference[:, 1] = without_position(difference[:, 1], angles_deg)
    return np.sqrt((difference**2).mean(axis=0))


def measured(phantom, geometry, seed, counts=COUNTS):
    p = exact_projections(phantom, geometry)
    counted = np.random.default_rng(seed).poisson(counts * np.exp(-p))
    return np.log(counts / np.maximum(counted, 0.5)).astype(np.float32)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shifts_are_found_within_a_third_of_a_pixel(seed):
    true = wandering(seed)
    nominal = scan_geometry(WIDTH, HEIGHT, VIEWS)
    phantom = pillar_with_spheres(WIDTH, HEIGHT, seed)
    p = measured(phantom, scan_geometry(WIDTH, HEIGHT, VIEWS, view_shifts_px=true), seed)
    found = displacement(recon.correct_geometry(p, nominal))
    assert (left_over(np.zeros_like(true), true, nominal.angles_deg) > 0.8).any()
    assert (left_over(found, true, nominal.angles_deg) < 0.15).all()


def test_the_rotation_axis_comes_out_where_it_is():
    """A constant column shift is determined by the data: over a full turn it blurs."""
    phantom = pillar_with_spheres(WIDTH, HEIGHT, 4)
    p = measured(phantom, scan_geometry(WIDTH, HEIGHT, VIEWS, axis_offset_um=4.0), 4)
    found = recon.correct_geometry(p, scan_geometry(WIDTH, HEIGHT, VIEWS))
    assert found.axis_offset_um == pytest.approx(4.0, abs=0.15)
    assert found.view_shifts_px[:, 1].mean() == pytest.approx(0.0, abs=1e-9)
    assert "rotation axis: +" in recon.describe_correction(scan_geometry(WIDTH, HEIGHT, VIEWS), found)


@pytest.mark.parametrize(("make", "seed"), [(pillar_with_spheres, 11), (random_spheres, 12)])
def test_drift_run_out_axis_and_roll_come_back_at_the_noise_of_a_real_scan(make, seed):
    """Attenuation as in the instrument: 1,453 counts, a quarter to a third of them behind the specimen."""
    width, height, views = 192, 48, 240
    rng = np.random.default_rng(seed)
    drift = np.outer(np.linspace(0, 1, views), [2.0, -2.2])
    true = scan_geometry(
        width,
        height,
        views,
        view_shifts_px=drift + rng.normal(0, 1, (views, 2)),
        axis_offset_um=5.0,
        detector_roll_deg=0.3,
    )
    p = measured(make(width, height, seed), true, seed, counts=1453.0)
    found = recon.correct_geometry(p, scan_geometry(width, height, views))
    difference = displacement(found) - displacement(true)
    assert (left_over(displacement(found), displacement(true), true.angles_deg) < 0.3).all()
    assert difference[:, 1].mean() == pytest.approx(0.0, abs=0.3)
    assert found.detector_roll_deg == pytest.approx(0.3, abs=0.05)
    assert np.log(found.view_scale).std() * 0.31 * width < 0.1  # px at the pillar's rim


def test_magnification_is_a_smooth_curve_in_time():
    t = np.linspace(-1, 1, VIEWS)
    scale = np.exp(0.05 * (t**2 - (t**2).mean()))  # 0.6 px at the rim
    true = scan_geometry(WIDTH, HEIGHT, VIEWS, view_scale=scale)
    p = measured(pillar_with_spheres(WIDTH, HEIGHT, 7), true, 7)
    found = recon.correct_geometry(p, scan_geometry(WIDTH, HEIGHT, VIEWS))
    assert np.log(found.view_scale).mean() == pytest.approx(0.0, abs=1e-3)
    error = np.log(found.view_scale / scale)
    assert (error - error.mean()).std() < 0.3 * np.log(scale).std()


def test_beam_hardening_is_not_taken_for_motion():
    """Behind 40 um of cathode p is about L - 0.15 L^2 for a monochromatic L; the spheres do not harden the beam."""
    views, binning = 120, 8
    settings = Settings()
    model = XrayModel(CathodePillar(3), settings)
    air = model.expected_counts(angle_deg=0, specimen_um=(0, 0, -60.0), binning=binning)
    angles = np.arange(views) * 360.0 / views
    p = np.stack([-np.log(model.expected_counts(angle_deg=a, binning=binning) / air) for a in angles])
    geometry = ConeGeometry(
        source_object_mm=settings.xray.source_object_mm,
        source_detector_mm=settings.xray.source_detector_mm,
        pixel_mm=settings.detector.pixel_mm * binning,
        detector_shape=p.shape[1:],
        angles_deg=angles,
        volume_shape=(32, 160, 160),
        voxel_um=settings.voxel_um * binning,
    )
    start = moment_start(p.astype(np.float32), np.arange(views), geometry)
    assert start.hardening == pytest.approx(0.15, abs=0.08)
    plain = moment_start(p.astype(np.float32), np.arange(views), geometry, hardenings=(0.0,))
    assert start.shifts_px.std(axis=0)[1] < 0.7 * plain.shifts_px.std(axis=0)[1]
    phantom = exact_projections(pillar_with_spheres(WIDTH, HEIGHT, 9), scan_geometry(WIDTH, HEIGHT, VIEWS))
    assert moment_start(phantom, np.arange(VIEWS), scan_geometry(WIDTH, HEIGHT, VIEWS)).hardening < 0.05


def test_views_without_a_trusted_ray_move_with_their_neighbours():
    t = np.linspace(0, 1, VIEWS)
    true = np.column_stack([3.0 * t, 5.0 * t])
    p = measured(pillar_with_spheres(WIDTH, HEIGHT, 8), scan_geometry(WIDTH, HEIGHT, VIEWS, view_shifts_px=true), 8)
    weights = np.ones_like(p)
    lost = [20, 21, 90]
    p[lost], weights[lost] = 0.0, 0.0
    found = recon.correct_geometry(p, scan_geometry(WIDTH, HEIGHT, VIEWS), weights=weights).view_shifts_px
    np.testing.assert_allclose(found[lost], (found[[19, 19, 89]] + found[[22, 22, 91]]) / 2, atol=0.15)


def test_references_fix_the_height_and_turn_the_view():
    """References give the drift of the source: rows start at zero, columns turn the viewing angle."""
    t = np.linspace(0, 1, VIEWS)
    true = np.column_stack([3.0 * t, 5.0 * t])
    phantom = pillar_with_spheres(WIDTH, HEIGHT, 6)
    p = measured(phantom, scan_geometry(WIDTH, HEIGHT, VIEWS, view_shifts_px=true), 6)
    when = np.linspace(0, 1, 7)
    references = scan_geometry(
        WIDTH, HEIGHT, 7, angles_deg=np.zeros(7), view_shifts_px=np.column_stack([3.0 * when, 5.0 * when])
    )
    nominal = scan_geometry(WIDTH, HEIGHT, VIEWS)
    found = recon.correct_geometry(
        p, nominal, times_s=t, reference=measured(phantom, references, 8), reference_times_s=when
    )
    assert found.view_shifts_px is not None
    np.testing.assert_allclose(found.view_shifts_px[:, 0], true[:, 0], atol=0.4)
    turned = found.angles_deg - nominal.angles_deg
    assert turned[0] == pytest.approx(0, abs=0.02)  # 0.3 px seen from 750 um away
    assert turned[-1] == pytest.approx(np.degrees(-5.0 * 1100 / 1099 / 750), rel=0.1)


def test_refusals():
    geometry = scan_geometry(16, 8, 4)
    p = np.ones((4, 8, 16))
    with pytest.raises(ValueError, match=r"p: got shape \(3, 8, 16\)"):
        recon.correct_geometry(p[:3], geometry)
    with pytest.raises(ValueError, match="weights: no view has a trusted ray"):
        recon.correct_geometry(p, geometry, weights=np.zeros_like(p))
    with pytest.raises(ValueError, match="times_s: got shape"):
        recon.correct_geometry(p, geometry, times_s=[0.0], reference=p, reference_times_s=np.arange(4))
    with pytest.raises(ValueError, match="reference_times_s: got shape"):
        recon.correct_geometry(p, geometry, times_s=np.arange(4), reference=p, reference_times_s=[0.0])
