from dataclasses import replace

import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import (
    Phantom,
    exact_projections,
    parallel_geometry,
    pillar_with_spheres,
    random_spheres,
    rms_error,
    scan_geometry,
    truth,
)
from recon.algorithms.redundancy import fan_deg, view_weights

WIDTH, HEIGHT, VIEWS = 64, 32, 90
RNG = np.random.default_rng(11)
BALL = Phantom(np.array([[4.0, -3.0, 1.0, 11.0, 0.02], [-14.0, 6.0, -4.0, 4.0, 0.01]]))

GEOMETRIES = {
    "full turn": scan_geometry(WIDTH, HEIGHT, VIEWS),
    "uneven": scan_geometry(WIDTH, HEIGHT, VIEWS, angles_deg=np.sort(RNG.uniform(0, 3, VIEWS) + np.arange(VIEWS) * 4)),
    "in any order, two turns": scan_geometry(WIDTH, HEIGHT, VIEWS, angles_deg=RNG.permutation(VIEWS) * 8.0 - 360),
    "repeated views": scan_geometry(WIDTH, HEIGHT, 120, angles_deg=np.r_[np.arange(90) * 4.0, np.arange(30) * 4.0]),
    "views missing": scan_geometry(WIDTH, HEIGHT, 80, angles_deg=np.delete(np.arange(90) * 4.0, slice(20, 30))),
    "half a turn and the fan": scan_geometry(WIDTH, HEIGHT, 80, angles_deg=30 + np.arange(80) * 2.4),
    "short scan with more": scan_geometry(WIDTH, HEIGHT, 90, angles_deg=np.arange(90) * 2.8),
    "moved": scan_geometry(
        WIDTH,
        HEIGHT,
        VIEWS,
        view_shifts_px=RNG.normal(0, 1.5, (VIEWS, 2)),
        view_scale=1 + RNG.normal(0, 0.005, VIEWS),
        axis_offset_um=2.3,
        detector_offset_px=(1.25, -2.5),
        detector_roll_deg=1.7,
    ),
    "one side of the axis cut off": scan_geometry(
        WIDTH, HEIGHT, VIEWS, detector_offset_px=(0.0, 10.0), axis_offset_um=3.0
    ),
    "parallel": parallel_geometry(WIDTH, HEIGHT, VIEWS),
    "parallel, ends repeated": parallel_geometry(WIDTH, HEIGHT, 91, angles_deg=np.arange(91) * 2.0),
    "parallel, full turn": parallel_geometry(WIDTH, HEIGHT, VIEWS, angles_deg=np.arange(VIEWS) * 4.0),
    "parallel, moved": parallel_geometry(
        WIDTH, HEIGHT, VIEWS, detector_offset_px=(0.75, -6.0), detector_roll_deg=-1.0, axis_offset_um=2.5
    ),
    "fine voxels": scan_geometry(WIDTH, HEIGHT, VIEWS, voxel_um=0.5, volume_shape=(64, 120, 128)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_sphere_gets_its_attenuation_at_its_place(name):
    geometry = GEOMETRIES[name]
    volume = recon.fdk(exact_projections(BALL, geometry), geometry, support=0.47 * WIDTH)
    nz, ny, nx = geometry.volume_shape
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * geometry.voxel_um for n in (nz, ny, nx)), indexing="ij")
    for bx, by, bz, radius, attenuation in BALL.balls:
        distance = np.sqrt((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2)
        assert volume[distance < radius - 2].mean() == pytest.approx(attenuation, rel=0.02)
        near = np.where(distance < radius + 2, volume, 0)
        for axis, centre in ((x, bx), (y, by), (z, bz)):
            assert (near * axis).sum() / near.sum() == pytest.approx(centre, abs=0.1)
    air = (np.hypot(x, y) > 26) & (np.hypot(x, y) < 29) & (np.abs(z) < 6)
    assert abs(volume[air].mean()) < (0.04 if "cut off" in name else 0.01) * BALL.balls[0, 4]


def test_redundant_rays_share_one_weight():
    """A ray and its reverse have weight one together: those of a full turn add up to pi in each column."""
    for name in ("full turn", "uneven", "in any order, two turns", "repeated views", "parallel, full turn"):
        assert view_weights(GEOMETRIES[name]).sum(axis=0) == pytest.approx(np.pi)
    assert view_weights(GEOMETRIES["parallel"]) == pytest.approx(np.pi / VIEWS)
    narrow = scan_geometry(WIDTH, HEIGHT, VIEWS, angles_deg=np.arange(VIEWS) * 2.8)
    turn = np.radians(180 + np.array([-1, 1]) * fan_deg(narrow))  # a column of a short scan serves that much of a turn
    sums = view_weights(narrow).sum(axis=0)
    assert sums.min() > turn[0]
    assert sums.max() < turn[1]
    assert sums.mean() == pytest.approx(np.pi, rel=0.01)


def test_a_view_repeated_counts_once():
    once = scan_geometry(WIDTH, HEIGHT, VIEWS)
    twice = replace(once, angles_deg=np.r_[once.angles_deg, once.angles_deg[:7] + 360])
    p = exact_projections(random_spheres(WIDTH, HEIGHT, 2), once)
    again = recon.fdk(np.concatenate([p, p[:7]]), twice)
    assert again == pytest.approx(recon.fdk(p, once), abs=1e-7)


def test_windows_trade_detail_for_noise():
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    noise = RNG.normal(size=(VIEWS, HEIGHT, WIDTH)).astype(np.float32)
    spread = [recon.fdk(noise, geometry, window=window).std() for window in ("ramp", "cosine", "hann")]
    assert spread[0] > 1.3 * spread[1] > 1.3 * spread[2]


def test_support_and_positivity():
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(random_spheres(WIDTH, HEIGHT, 2), geometry)
    free, held = recon.fdk(p, geometry), recon.fdk(p, geometry, support=20.0, nonnegative=True)
    y, x = np.mgrid[:WIDTH, :WIDTH] - (WIDTH - 1) / 2
    inside = np.hypot(x, y) <= 20
    assert held[:, inside] == pytest.approx(np.maximum(free, 0)[:, inside], abs=1e-7)
    assert not held[:, ~inside].any()


def test_the_error_is_that_of_the_voxels():
    """Against the averaged truth, sharp edges leave under a fifth of the signal."""
    geometry = scan_geometry(WIDTH, HEIGHT, 2 * VIEWS)
    phantom = random_spheres(WIDTH, HEIGHT, 5)
    reference = truth(phantom, geometry.volume_shape)
    difference = (recon.fdk(exact_projections(phantom, geometry), geometry) - reference)[3:-3]
    assert np.sqrt((difference**2).mean() / (reference[3:-3] ** 2).mean()) < 0.2


def test_a_limited_angle_gives_a_warning():
    geometry = scan_geometry(WIDTH, HEIGHT, 50, angles_deg=np.arange(50) * 3.0)
    with pytest.warns(UserWarning, match="angles_deg: rays cross the axis in 150 of 180 degrees only"):
        recon.fdk(np.zeros((50, HEIGHT, WIDTH)), geometry)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_no_warning_where_all_directions_are_seen(name):
    geometry = GEOMETRIES[name]
    recon.fdk(np.zeros((geometry.num_views, *geometry.detector_shape)), geometry)


def test_refusals_name_the_argument():
    geometry = scan_geometry(16, 8, 3)
    with pytest.raises(ValueError, match=r"p: got shape \(2, 8, 16\)"):
        recon.fdk(np.zeros((2, 8, 16)), geometry)
    with pytest.raises(ValueError, match="window: needs one of ramp, sharp, cosine, hann, got 'hamming'"):
        recon.fdk(np.zeros((3, 8, 16)), geometry, window="hamming")
    with pytest.raises(ValueError, match="support: needs a positive radius"):
        recon.fdk(np.zeros((3, 8, 16)), geometry, support=-1.0)


def test_a_roll_leaves_no_edge_where_the_specimen_leaves_the_detector():
    phantom = pillar_with_spheres(WIDTH, HEIGHT, seed=8)
    errors = []
    for roll_deg in (0.0, 0.5):
        geometry = scan_geometry(WIDTH, HEIGHT, VIEWS, detector_roll_deg=roll_deg)
        volume = recon.fdk(exact_projections(phantom, geometry), geometry)
        errors.append(rms_error(volume[:6], truth(phantom, geometry.volume_shape)[:6]))
    assert errors[1] < 1.1 * errors[0]


def test_a_sharp_window_corrects_the_blur_of_interpolation():
    """A Gaussian column of standard deviation s is left s^2 / (s^2 + 1/6) of its height: 1/6 is the variance of the
    triangle that interpolates linearly."""
    geometry = parallel_geometry(WIDTH, 8, 360)
    sigma, x, y = 1.2, 10.5, -7.5  # in the middle of a voxel
    angle = np.radians(geometry.angles_deg)[:, None]
    away = np.arange(WIDTH) - geometry.axis_column - (x * np.sin(angle) + y * np.cos(angle))
    p = np.sqrt(2 * np.pi) * sigma * np.exp(-0.5 * (away / sigma) ** 2)
    p = np.repeat(p[:, None, :], 8, axis=1).astype(np.float32)
    plain, sharp = (recon.fdk(p, geometry, window=window)[4].max() for window in ("ramp", "sharp"))
    assert plain == pytest.approx(sigma**2 / (sigma**2 + 1 / 6), abs=0.01)
    assert sharp == pytest.approx(1.0, abs=0.01)
