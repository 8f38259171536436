import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, random_spheres, scan_geometry, truth

WIDTH, HEIGHT, VIEWS = 64, 48, 24
RNG = np.random.default_rng(7)
SHIFTS = RNG.normal(0, 1.5, (VIEWS, 2))
SCALE = 1 + RNG.normal(0, 0.005, VIEWS)
HEIGHT_UM = RNG.normal(0, 12.0, VIEWS)  # 6 % of the pillar's distance: 2 px between its front and its back

GEOMETRIES = {
    "plain": {},
    "moved": {
        "view_shifts_px": SHIFTS,
        "view_scale": SCALE,
        "view_height_um": HEIGHT_UM,
        "axis_offset_um": 2.3,
        "detector_offset_px": (1.25, -2.5),
        "detector_roll_deg": 1.7,
    },
    "fine voxels": {"voxel_um": 0.6, "volume_shape": (70, 96, 101), "view_shifts_px": SHIFTS},
    "slightly finer voxels": {"voxel_um": 0.94, "axis_offset_um": -1.0},
    "coarse voxels": {"voxel_um": 1.9, "volume_shape": (21, 40, 33), "detector_roll_deg": -3.0},
    "one slice": {"volume_shape": (1, 31, 64)},
    "tall and thin": {"volume_shape": (90, 7, 50), "detector_shape": (17, 33)},
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_backproject_is_the_adjoint_of_project(name):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS, **GEOMETRIES[name])
    rng = np.random.default_rng(1)
    volume = rng.random(geometry.volume_shape, np.float32)
    images = rng.random((VIEWS, *geometry.detector_shape), np.float32)
    forward = np.vdot(recon.project(volume, geometry).astype(float), images.astype(float))
    back = np.vdot(volume.astype(float), recon.backproject(images, geometry).astype(float))
    assert forward > 0
    assert back == pytest.approx(forward, rel=1e-5)


def test_the_adjoint_holds_for_signed_data():
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS, **GEOMETRIES["moved"])
    rng = np.random.default_rng(2)
    volume = rng.normal(size=geometry.volume_shape).astype(np.float32)
    images = rng.normal(size=(VIEWS, *geometry.detector_shape)).astype(np.float32)
    projected = recon.project(volume, geometry).astype(float)
    difference = np.vdot(projected, images) - np.vdot(volume.astype(float), recon.backproject(images, geometry))
    assert abs(difference) < 1e-5 * np.linalg.norm(projected) * np.linalg.norm(images)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"view_shifts_px": SHIFTS},
        {"axis_offset_um": 2.3},
        {"detector_offset_px": (1.25, -2.5)},
        {"detector_roll_deg": 3.0},
        {"view_scale": SCALE},
        {"view_height_um": HEIGHT_UM},
        GEOMETRIES["moved"],
    ],
    ids=["plain", "shifts", "axis", "offset", "roll", "scale", "height", "all"],
)
def test_project_agrees_with_exact_line_integrals(changes):
    """Antialiasing of the voxels leaves below 5 % of the signal; a wrong sign would leave 10 to 40 %."""
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS, **changes)
    phantom = random_spheres(WIDTH, HEIGHT, seed=3)
    exact = exact_projections(phantom, geometry)
    projected = recon.project(truth(phantom, geometry.volume_shape), geometry)
    assert np.sqrt(((projected - exact) ** 2).mean() / (exact**2).mean()) < 0.05


def test_lengths_are_in_micrometres():
    """A uniform cube seen straight through: attenuation x edge."""
    geometry = scan_geometry(
        33, 33, 1, source_object_mm=50.0, source_detector_mm=500.0, pixel_mm=0.02, voxel_um=2.0, volume_shape=(9, 9, 9)
    )
    image = recon.project(np.full((9, 9, 9), 0.01), geometry)[0]
    assert image[16, 16] == pytest.approx(0.01 * 18.0, rel=1e-5)
    assert image[0, 0] == 0


def test_refusals_name_the_argument():
    geometry = scan_geometry(16, 8, 3)
    with pytest.raises(ValueError, match=r"volume: got shape \(8, 16, 15\), the geometry needs \(8, 16, 16\)"):
        recon.project(np.zeros((8, 16, 15)), geometry)
    with pytest.raises(ValueError, match=r"p: got shape \(2, 8, 16\)"):
        recon.backproject(np.zeros((2, 8, 16)), geometry)
    broken = np.zeros((8, 16, 16))
    broken[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="volume: needs finite numbers, got 1"):
        recon.project(broken, geometry)
