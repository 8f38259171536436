import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from xrm_sims.correlate import figures
from xrm_sims.correlate.appearance import chain, pixel_to_scan
from xrm_sims.correlate.defects import find_defects
from xrm_sims.correlate.register import Registration
from xrm_sims.correlate.segment import segment
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
    figure = figures.overlay_figure(
        phantom_volume, VOXEL_UM, counts, ("7Li", "27Al", "58Ni", "59Co"), RASTER, placed,
        se_image=counts.sum(axis=0).sum(axis=0) + np.zeros((96, 96)), se_raster=(14.0, (0.0, 0.0)), defect=defect,
    )  # fmt: skip
    assert len(figure.axes) == 9
    path = figures.save(figure, tmp_path / "deep" / "overlay.png", dpi=60)
    _looks_like_a_picture(path, figure.get_size_inches(), 60)


def test_overview(phantom_volume, tmp_path):
    seg = segment(phantom_volume, VOXEL_UM)
    found = find_defects(phantom_volume, VOXEL_UM, segmentation=seg)
    figure = figures.overview_figure(phantom_volume, VOXEL_UM, found, seg.pillar, found[0])
    _looks_like_a_picture(figures.save(figure, tmp_path / "overview.png", dpi=60), figure.get_size_inches(), 60)


def test_registration_and_drift(phantom_volume, placed, tmp_path):
    counts = np.random.default_rng(0).poisson(20, (4, 96, 96))
    figure = figures.registration_figure(phantom_volume, VOXEL_UM, counts, RASTER, placed)
    _looks_like_a_picture(figures.save(figure, tmp_path / "registration.png", dpi=60), figure.get_size_inches(), 60)
    time_s = np.arange(50) * 100.0
    figure = figures.drift_figure(time_s, np.zeros((50, 2)), 0.2, (time_s[::10], np.zeros((5, 2))))
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match="shifts_px"):
        figures.drift_figure(time_s, np.zeros(50), 0.2)


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path):
    figure = figures.drift_figure(np.arange(3.0), np.zeros((3, 2)), 0.2)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    figure.savefig = fail
    with pytest.raises(OSError, match="disk full"):
        figures.save(figure, tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_no_pyplot_state():
    code = "import sys, xrm_sims.correlate.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
