"""Geometry and line integrals in wrong units or shapes are refused by name."""

from dataclasses import replace

import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, scan_geometry
from xrm_sims.geometry import ConeGeometry, ParallelGeometry

LAB = {
    "source_object_mm": 0.4,
    "source_detector_mm": 440.0,
    "pixel_mm": 0.055,
    "detector_shape": (8, 64),
    "angles_deg": np.arange(60) * 6.0,
    "volume_shape": (8, 64, 64),
    "voxel_um": 0.05,
}


@pytest.fixture(scope="module")
def scan():
    geometry = scan_geometry(32, 12, 36)
    return exact_projections(pillar_with_spheres(32, 12, seed=1, count=10), geometry), geometry


@pytest.mark.parametrize(
    ("field", "value"),
    [("pixel_mm", 55.0), ("source_object_mm", 400.0), ("voxel_um", 5e-5), ("voxel_um", 50.0)],
    ids=["pixel in um", "source-object in um", "voxel in mm", "voxel in nm"],
)
def test_one_length_in_another_unit_is_recognised_by_the_others(field, value):
    ConeGeometry(**LAB)
    with pytest.raises(ValueError, match="micrometres"):
        ConeGeometry(**(LAB | {field: value}))


def test_all_lengths_in_micrometres_are_recognised_by_their_size():
    with pytest.raises(ValueError, match="pixel_mm: 55 mm is more than 10 mm; was it given in micrometres"):
        ConeGeometry(**(LAB | {"source_object_mm": 400.0, "source_detector_mm": 4.4e5, "pixel_mm": 55.0}))
    with pytest.raises(ValueError, match="source_detector_mm: 440000 mm"):
        ConeGeometry(**(LAB | {"source_object_mm": 400.0, "source_detector_mm": 4.4e5}))


def test_a_parallel_beam_with_its_pixel_in_millimetres():
    with pytest.raises(ValueError, match="millimetres and micrometres mixed up in pixel_um, voxel_um"):
        ParallelGeometry(6.5e-4, (8, 64), LAB["angles_deg"], (8, 64, 64), 0.65)


@pytest.mark.parametrize("function", [recon.sart, recon.fdk, recon.correct_geometry])
class TestEveryDoor:
    def test_wrong_number_of_angles(self, scan, function):
        p, geometry = scan
        with pytest.raises(ValueError, match=r"p: got shape \(35, 12, 32\), the geometry needs \(36, 12, 32\)"):
            function(p[:-1], geometry)

    def test_nan(self, scan, function):
        p, geometry = scan
        with pytest.raises(ValueError, match="p: needs finite numbers, got 12 that are not"):
            function(np.where(np.arange(32) == 5, np.where(np.arange(36)[:, None, None] == 3, np.nan, p), p), geometry)

    @pytest.mark.parametrize("turn", [360.0, 180.0])
    def test_angles_in_radians(self, scan, function, turn):
        p, geometry = scan
        angles = np.radians(np.linspace(0, turn, 36, endpoint=False))
        with pytest.raises(ValueError, match=r"angles_deg: 36 views within .* degrees; are these radians"):
            function(p, replace(geometry, angles_deg=angles))

    def test_one_angle_only(self, scan, function):
        p, geometry = scan
        with pytest.raises(ValueError, match="angles_deg: all 36 views are at 0 degrees"):
            function(p, replace(geometry, angles_deg=np.zeros(36)))

    def test_counts_for_line_integrals(self, scan, function):
        p, geometry = scan
        with pytest.raises(ValueError, match=r"p: .* are these counts"):
            function(1453 * np.exp(-p), geometry)

    @pytest.mark.parametrize("moved", [{"detector_offset_px": (0.0, 900.0)}, {"axis_offset_um": -40.0}], ids=str)
    def test_a_volume_that_no_ray_meets(self, scan, function, moved):
        p, geometry = scan
        with pytest.raises(ValueError, match="no ray of any view passes through the volume"):
            function(p, replace(geometry, **moved))


def test_a_last_view_at_360_degrees_is_one_more_view(scan):
    """Many scans have one."""
    p, geometry = scan
    closed = replace(geometry, angles_deg=np.append(geometry.angles_deg, 360.0))
    for function in (lambda *a: recon.sart(*a, tv=0.0).volume, recon.fdk):
        open_volume, volume = function(p, geometry), function(np.concatenate([p, p[:1]]), closed)
        assert np.sqrt(((volume - open_volume) ** 2).mean()) < 0.05 * np.sqrt((open_volume**2).mean())


def test_weights_of_another_shape_or_range_are_refused(scan):
    p, geometry = scan
    with pytest.raises(ValueError, match="weights: got shape"):
        recon.sart(p, geometry, weights=np.ones((36, 12, 31)))
    for wrong in (-1.0, np.nan, 0.0):
        with pytest.raises(ValueError, match="weights: needs numbers from 0 to 1"):
            recon.sart(p, geometry, weights=np.full(p.shape, wrong))
    half = recon.sart(p, geometry, weights=np.full(p.shape, 0.5, np.float16), sweeps=1, tv=0.0).volume
    assert half.dtype == np.float32
