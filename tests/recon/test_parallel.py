"""A parallel beam with the same functions, on simulated and, where a file is given, on measured data."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.ndimage import shift
from skimage.transform import iradon

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
from xrm_sims.geometry import ParallelGeometry

WIDTH, HEIGHT, VIEWS = 64, 24, 90
MOVED = {
    "detector_offset_px": (0.8, -3.3),
    "detector_roll_deg": 1.2,
    "axis_offset_um": 2.0,
    "view_shifts_px": np.random.default_rng(3).normal(0, 1, (VIEWS, 2)),
}


@pytest.mark.parametrize("changes", [{}, MOVED], ids=["plain", "moved"])
def test_backproject_is_the_adjoint_of_project(changes):
    geometry = parallel_geometry(WIDTH, HEIGHT, VIEWS, **changes)
    rng = np.random.default_rng(1)
    volume = rng.normal(size=geometry.volume_shape).astype(np.float32)
    images = rng.normal(size=(VIEWS, HEIGHT, WIDTH)).astype(np.float32)
    projected = recon.project(volume, geometry).astype(float)
    difference = np.vdot(projected, images) - np.vdot(volume.astype(float), recon.backproject(images, geometry))
    assert abs(difference) < 1e-5 * np.linalg.norm(projected) * np.linalg.norm(images)


def test_rays_do_not_diverge():
    """A column of voxels has the same projection anywhere along the beam, also at the edge of a wide volume."""
    geometry = parallel_geometry(1001, 3, 1, volume_shape=(3, 1001, 1001))
    volume = np.zeros(geometry.volume_shape, np.float32)
    volume[1, 990, [0, 500, 1000]] = 1.0
    image = recon.project(volume, geometry)[0]
    assert image[1, 990] == pytest.approx(3.0, abs=1e-4)
    assert np.abs(image).sum() == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("changes", [{}, MOVED], ids=["plain", "moved"])
def test_project_agrees_with_the_chords_of_spheres(changes):
    """Independent formula of the chords in the plane across the beam; antialiasing of the voxels leaves under 7 %."""
    geometry = parallel_geometry(WIDTH, HEIGHT, VIEWS, **changes)
    x, y, z, radius, attenuation = 6.0, -4.0, 0.5, 9.5, 0.01
    phantom = Phantom(np.array([[x, y, z, radius, attenuation]]))
    angles, roll = np.radians(geometry.angles_deg)[:, None, None], np.radians(geometry.detector_roll_deg)
    shifts = np.zeros((VIEWS, 2)) if geometry.view_shifts_px is None else geometry.view_shifts_px
    moved = (shifts + geometry.detector_offset_px)[:, :, None, None]
    right = np.arange(WIDTH) - (WIDTH - 1) / 2 - moved[:, 1]
    up = np.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2 - moved[:, 0]
    across = np.cos(roll) * right + np.sin(roll) * up - (x * np.sin(angles) + y * np.cos(angles))
    across = across - geometry.axis_offset_um
    along = np.cos(roll) * up - np.sin(roll) * right - z
    chords = 2 * attenuation * np.sqrt(np.maximum(radius**2 - across**2 - along**2, 0))
    assert exact_projections(phantom, geometry) == pytest.approx(chords, abs=1e-5)
    projected = recon.project(truth(phantom, geometry.volume_shape), geometry)
    assert np.sqrt(((projected - chords) ** 2).mean() / (chords**2).mean()) < 0.07


def test_sart_gets_below_filtered_back_projection():
    geometry = parallel_geometry(WIDTH, HEIGHT, 40)
    phantom = random_spheres(WIDTH, HEIGHT, seed=4)
    p, reference = exact_projections(phantom, geometry), truth(phantom, geometry.volume_shape)
    error = rms_error(recon.sart(p, geometry, sweeps=4, tv=0).volume, reference)
    assert error < rms_error(recon.fdk(p, geometry), reference)


def test_the_geometry_survives_its_dictionary():
    geometry = parallel_geometry(WIDTH, HEIGHT, VIEWS, **MOVED)
    again = ParallelGeometry.from_dict(geometry.as_dict())
    assert again.as_dict() == geometry.as_dict()
    assert "parallel beam, 90 views" in str(again)
    assert again.axis_column == pytest.approx(31.5 - 3.3 + 2.0)
    assert len(again.only(np.array([3, 5])).view_shifts_px) == 2
    with pytest.raises(ValueError, match="pixel_um: needs a positive length, got -1"):
        replace(geometry, pixel_um=-1.0)
    with pytest.raises(ValueError, match="unknown field 'pixel_mm'"):
        ParallelGeometry.from_dict(scan_geometry(8, 8, 3).as_dict())


@pytest.mark.parametrize("beam", [parallel_geometry, scan_geometry], ids=["parallel", "cone"])
@pytest.mark.parametrize(("offset", "known", "noise", "tolerance"), [(-8.6, 0.0, 0, 0.1), (4.7, 2.0, 1, 0.5)])
def test_the_axis_is_found(beam, offset, known, noise, tolerance):
    """Without noise, and at 1,450 counts of open beam of which a fifth pass the specimen."""
    true = beam(96, 16, 120, detector_offset_px=(0.4, offset))
    p = exact_projections(pillar_with_spheres(96, 16, seed=8), true)
    scale = 1.6 / p.max()
    if noise:
        counts = np.random.default_rng(5).poisson(1450 * np.exp(-scale * p))
        p = -np.log(np.maximum(counts, 0.5) / 1450) / scale
    found = recon.find_axis(p, replace(true, detector_offset_px=(0.4, known)))
    assert found.detector_offset_px == (0.4, pytest.approx(offset, abs=tolerance))


def test_the_axis_search_names_the_refused_argument():
    geometry = parallel_geometry(16, 4, 8)
    with pytest.raises(ValueError, match=r"p: got shape \(8, 4, 15\)"):
        recon.find_axis(np.zeros((8, 4, 15)), geometry)
    with pytest.raises(ValueError, match="search_px: needs a distance from 0 to half the 16 columns, got 9"):
        recon.find_axis(np.zeros((8, 4, 16)), geometry, search_px=9)
    with pytest.raises(ValueError, match="p: needs finite numbers, got 512"):
        recon.find_axis(np.full((8, 4, 16), np.nan), geometry)


def test_a_measured_tooth_agrees_with_scikit_image(tooth):
    with h5py.File(tooth) as file:
        raw = {name: file[f"exchange/{name}"][...] for name in ("data", "data_white", "data_dark", "theta")}
    p, _ = recon.line_integrals(raw["data"], raw["data_white"], raw["data_dark"])
    rows, columns = p.shape[1:]
    width = columns - 1  # so that the middle of the volume is a voxel, as it is with scikit-image
    blind = ParallelGeometry(
        pixel_um=1.0,
        detector_shape=(rows, columns),
        angles_deg=raw["theta"],
        volume_shape=(rows, width, width),
        voxel_um=1.0,
    )
    geometry = recon.find_axis(p, blind)
    assert geometry.axis_column == pytest.approx(296, abs=1)
    centred = shift(p[:, 0].T, (columns // 2 - geometry.axis_column, 0), order=3)
    peer = iradon(centred, theta=raw["theta"], output_size=width)
    y, x = np.mgrid[:width, :width] - (width - 1) / 2
    disk = np.hypot(x, y) < 0.45 * width
    dense = disk & (peer > 0.3 * np.percentile(peer[disk], 99))
    for volume in (recon.fdk(p, geometry), recon.sart(p, geometry).volume):
        assert np.corrcoef(np.rot90(volume[0])[dense], peer[dense])[0, 1] > 0.99
