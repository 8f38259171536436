"""A scan described in another frame, and reconstructed there with the edges of another volume."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.recon_phantom import (
    exact_projections,
    parallel_geometry,
    random_spheres,
    rms_error,
    scan_geometry,
    truth,
)
from recon.frames.prepare import Prepared
from recon.joint import in_frame, reconstruct_beside
from recon.runs import reconstruct

WIDTH, HEIGHT, SCALE = 64, 32, 1.004
SHIFT_UM = (0.9, -0.7, 1.3)
EXACT_PX = 0.02  # second order: a shift of 1.2 um over 400 um times the fan of 4.6 deg, 40 px from the middle


def affine(turn_deg):
    return np.column_stack([SCALE * Rotation.from_rotvec(turn_deg, degrees=True).as_matrix(), SHIFT_UM])


def carried(phantom, matrix):
    """Return the phantom in the frame of the scan."""
    balls = phantom.balls.copy()
    balls[:, :3] = balls[:, :3] @ matrix[:, :3].T + matrix[:, 3]
    balls[:, 3] *= SCALE
    return replace(phantom, balls=balls)


def prepared(p, geometry):
    return Prepared(geometry, p, np.ones_like(p), np.arange(len(p), dtype=float), None, np.zeros(0), ("made up",))


def scan_of(phantom, turn_deg, geometry):
    """Return projections of the displaced phantom, the scan in the phantom's frame, and exact projections of both."""
    matrix = affine(turn_deg)
    measured = exact_projections(carried(phantom, matrix), geometry)
    moved = in_frame(prepared(measured, geometry), matrix, geometry.volume_shape, 1.0)
    return measured, moved, SCALE * exact_projections(phantom, moved.geometry)


def apart_px(one, other):
    """Return rms difference over rms slope, about the displacement between two images."""
    inner = (slice(None), slice(3, -3), slice(3, -3))  # turned images end there
    slope = np.hypot(*np.gradient(other, axis=(1, 2)))
    return float(np.sqrt(((one - other)[inner] ** 2).mean() / (slope[inner] ** 2).mean()))


def test_a_scan_in_another_frame_sees_the_specimen_in_its_place():
    views, rng = 8, np.random.default_rng(5)
    geometry = scan_geometry(
        WIDTH, HEIGHT, views, axis_offset_um=0.8, detector_offset_px=(0.5, -1.0), detector_roll_deg=0.3,
        view_shifts_px=rng.normal(0, 1, (views, 2)), view_scale=1 + rng.normal(0, 2e-3, views),
        view_height_um=rng.normal(0, 1, views),
    )  # fmt: skip
    phantom = random_spheres(WIDTH, HEIGHT, seed=2)
    measured, moved, expected = scan_of(phantom, (0.0, 0.0, 0.6), geometry)
    assert apart_px(moved.p, expected) < EXACT_PX
    assert apart_px(measured, SCALE * exact_projections(phantom, geometry)) > 0.5
    assert moved.geometry.detector_roll_deg == geometry.detector_roll_deg


def test_a_tilt_turns_the_images_unless_it_is_slight(monkeypatch):
    geometry, phantom = scan_geometry(WIDTH, HEIGHT, 8), random_spheres(WIDTH, HEIGHT, seed=2)
    _, turned, expected = scan_of(phantom, (1.5, -1.0, 0.6), geometry)
    measured, slightly, _ = scan_of(phantom, (0.1, -0.1, 0.0), geometry)
    np.testing.assert_array_equal(slightly.p, measured)
    monkeypatch.setattr("recon.joint.TURNED_PX", np.inf)
    _, unturned, _ = scan_of(phantom, (1.5, -1.0, 0.6), geometry)
    assert apart_px(turned.p, expected) < 0.75 * apart_px(unturned.p, expected)  # the interpolation blurs sharp spheres


def test_a_guide_improves_the_volume_of_few_noisy_views():
    views, noise = 12, 0.04
    phantom, matrix = random_spheres(WIDTH, HEIGHT, seed=2, count=20), affine((0.0, 0.0, 0.6))
    geometry = scan_geometry(WIDTH, HEIGHT, views)
    right = truth(phantom, geometry.volume_shape)
    p = exact_projections(carried(phantom, matrix), geometry)
    p += np.random.default_rng(0).normal(0, noise, p.shape).astype(np.float32)
    scan = prepared(p, geometry)
    other_contrast = 5 - 300 * right
    guided = reconstruct_beside(scan, other_contrast, matrix, 1.0)
    alone = reconstruct(in_frame(scan, matrix, right.shape, 1.0))
    assert guided.volume.shape == right.shape
    assert rms_error(guided.volume, SCALE * right) < 0.8 * rms_error(alone.volume, SCALE * right)


def test_a_parallel_beam_is_refused():
    geometry = parallel_geometry(WIDTH, HEIGHT, 4)
    scan = prepared(np.zeros((4, HEIGHT, WIDTH), np.float32), geometry)
    with pytest.raises(ValueError, match="geometry: needs a cone beam"):
        in_frame(scan, affine((0.0, 0.0, 0.0)), geometry.volume_shape, 1.0)
