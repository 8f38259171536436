import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

import xrm_sims.correlate.figures as package
from xrm_sims.correlate.figures import drawing, map_figures, tomogram_figures
from xrm_sims.correlate.registration.active_material import chain, pixel_to_scan
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.defects import find_defects
from xrm_sims.correlate.volume.segment import segment
from xrm_sims.geometry import ConeGeometry
from xrm_sims.patterns import Raster

VOXEL_UM = 0.2
RASTER = Raster((96, 96), 9.0, 0.5)


@pytest.fixture(scope="module")
def placed():
    affine = np.array([[1.0, 0.01, 0.4], [-0.01, 1.0, 0.2]])
    return Registration(chain(affine, pixel_to_scan(RASTER)), affine, 1.0, 0.03, 80.0, 60.0, 0.9, 0.4, 0.6, 1.0)


def _looks_like_a_picture(path, inches, dpi):
    pixels = imread(path)
    assert pixels.shape[:2] == pytest.approx((inches[1] * dpi, inches[0] * dpi), abs=1)
    assert pixels[..., :3].std() > 0.05


def test_overlay(phantom_volume, placed, tmp_path):
    counts = np.random.default_rng(0).poisson(20, (4, 96, 96))
    defect = find_defects(phantom_volume, VOXEL_UM)[0]
    figure = map_figures.overlay_figure(
        phantom_volume, VOXEL_UM, counts, ("7Li", "27Al", "58Ni", "59Co"), RASTER, placed,
        se_image=counts.sum(axis=0).sum(axis=0) + np.zeros((96, 96)), se_raster=(14.0, (0.0, 0.0)), defect=defect,
    )  # fmt: skip
    assert len(figure.axes) == 9
    path = drawing.save(figure, tmp_path / "deep" / "overlay.png", dpi=60)
    _looks_like_a_picture(path, figure.get_size_inches(), 60)


def test_overview(phantom_volume, tmp_path):
    seg = segment(phantom_volume, VOXEL_UM)
    found = find_defects(phantom_volume, VOXEL_UM, segmentation=seg)
    figure = tomogram_figures.overview_figure(phantom_volume, VOXEL_UM, found, seg.pillar, found[0])
    _looks_like_a_picture(drawing.save(figure, tmp_path / "overview.png", dpi=60), figure.get_size_inches(), 60)


def test_every_channel_has_its_scale(tmp_path):
    labels = ("7Li", "27Al", "58Ni")
    figure = map_figures.channels_figure(np.random.default_rng(0).poisson(5, (2, 3, 96, 96)), labels, RASTER)
    assert sum(axes.get_ylabel() == "counts per pixel" for axes in figure.axes) == len(labels)
    _looks_like_a_picture(drawing.save(figure, tmp_path / "channels.png", dpi=60), figure.get_size_inches(), 60)


def test_a_registration_comes_back_from_its_table(placed):
    read = Registration.from_dict(json.loads(json.dumps(placed.as_dict() | {"kind": "registration"})))
    assert read.as_dict() == placed.as_dict()
    assert read.sims_to_specimen.shape == (2, 3)


def test_registration(phantom_volume, placed, tmp_path):
    counts = np.random.default_rng(0).poisson(20, (4, 96, 96))
    figure = map_figures.registration_figure(phantom_volume, VOXEL_UM, counts, RASTER, placed)
    _looks_like_a_picture(drawing.save(figure, tmp_path / "registration.png", dpi=60), figure.get_size_inches(), 60)


def scan(views=50, **changes):
    table = {
        "source_object_mm": 0.4,
        "source_detector_mm": 440.0,
        "pixel_mm": 0.055,
        "detector_shape": (8, 8),
        "angles_deg": np.arange(views) * 7.2,
        "volume_shape": (8, 8, 8),
        "voxel_um": 0.05,
        "view_shifts_px": np.random.default_rng(0).normal(0, 1, (views, 2)),
    }
    return ConeGeometry(**(table | changes))


@pytest.mark.parametrize(("scale", "panels"), [(None, 2), (np.linspace(1, 1.002, 50), 3)])
def test_drift(tmp_path, scale, panels):
    corrected = scan(view_scale=scale, axis_offset_um=0.31, detector_roll_deg=-0.2)
    figure = tomogram_figures.drift_figure(corrected, np.arange(50) * 100.0)
    assert len(figure.axes) == panels
    assert "+0.31 µm" in figure.get_suptitle()
    assert "-0.20°" in figure.get_suptitle()
    _looks_like_a_picture(drawing.save(figure, tmp_path / "drift.png", dpi=60), figure.get_size_inches(), 60)


def test_the_drift_of_what_was_not_corrected_is_refused():
    with pytest.raises(ValueError, match="view_shifts_px"):
        tomogram_figures.drift_figure(scan(view_shifts_px=None), np.zeros(50))
    with pytest.raises(ValueError, match="time_s"):
        tomogram_figures.drift_figure(scan(), np.zeros(3))


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path):
    figure = tomogram_figures.drift_figure(scan(3), np.arange(3.0))

    def fail(*args, **kwargs):
        raise OSError("disk full")

    figure.savefig = fail
    with pytest.raises(OSError, match="disk full"):
        drawing.save(figure, tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_functions_are_found_in_the_package_as_in_the_former_module():
    assert package.overlay_figure is map_figures.overlay_figure


def test_no_pyplot_state():
    code = "import sys, xrm_sims.correlate.figures.map_figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
