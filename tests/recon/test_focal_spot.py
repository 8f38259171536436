"""Removal of the blur of the focal spot, with the spot that the twin uses."""

from dataclasses import replace

import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, random_spheres, scan_geometry
from recon.algorithms.focal_spot import FocalSpot, sharpen
from tests.recon.test_documents import Scan
from xrm_sims.settings import Detector, Settings, Source
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin.xray import XrayModel

SPOT = FocalSpot((0.3, 0.7), (1.0, 4.0), 1.3)
GEOMETRY = scan_geometry(128, 96, 3)  # pixels of 1 um at the axis


def blurred(p, spot=SPOT):
    rows, columns = np.fft.fftfreq(p.shape[1]), np.fft.rfftfreq(p.shape[2])
    transfer = spot.transfer(np.hypot(spot.vertical_stretch * rows[:, None], columns))
    return np.fft.irfft2(np.fft.rfft2(p) * transfer, p.shape[1:]).astype(np.float32)


def test_the_blur_of_the_spot_is_removed():
    p = exact_projections(random_spheres(128, 96, seed=4), GEOMETRY)
    soft = blurred(p)
    sharp = soft.copy()
    sharpen(sharp, GEOMETRY, SPOT, amplification=30.0)
    assert np.abs(sharp - p).max() < 0.3 * np.abs(soft - p).max()
    assert np.sqrt(((sharp - p) ** 2).mean()) < 0.2 * np.sqrt(((soft - p) ** 2).mean())


@pytest.mark.parametrize("amplification", [1.0, 3.0])
def test_noise_is_amplified_by_no_more_than_the_given_factor(amplification):
    noise = np.random.default_rng(3).normal(size=(3, 96, 128)).astype(np.float32)
    loud = noise.copy()
    sharpen(loud, GEOMETRY, SPOT, amplification=amplification)
    cut = slice(20, -20)  # away from the edges, which are carried on outwards
    before, after = (np.abs(np.fft.rfft2(image[:, cut, cut])) ** 2 for image in (noise, loud))
    assert after.sum() < (1.05 * amplification) ** 2 * before.sum()
    assert after.sum() > 0.01 * before.sum()


def test_a_constant_is_not_changed():
    level = np.full((3, 96, 128), 1.7, np.float32)
    sharpen(level, GEOMETRY, SPOT)
    np.testing.assert_allclose(level, 1.7, rtol=1e-4)


def test_the_spot_in_a_run_is_that_of_the_twin():
    """A sharp image of the twin, blurred by the spot in its run, is its blurred image."""
    settings = Settings(detector=Detector(rows=64))
    point = settings.model_copy(update={"source": Source(spot_core_sigma_nm=1e-3, spot_tail_sigma_nm=1e-3)})
    seen, sharp = (
        XrayModel(CathodePillar(5), s).expected_counts(angle_deg=30.0, exposure_s=90.0) for s in (settings, point)
    )
    spot = FocalSpot.from_dict(settings.source.focal_spot)
    at_a_pixel = replace(spot, sigma_um=tuple(s / settings.voxel_um for s in spot.sigma_um))
    told = blurred(sharp[None].astype(np.float32), at_a_pixel)[0]
    inner = (slice(20, -20), slice(100, -100))  # a transform is periodic, a detector is not
    assert np.abs(told - seen)[inner].max() < 0.01 * np.ptp(seen)
    assert np.abs(sharp - seen)[inner].max() > 0.1 * np.ptp(seen)


@pytest.mark.parametrize(
    ("spot", "says"),
    [
        ({"shares": (0.5,), "sigma_um": (0.1, 0.2)}, "as many shares as sigma_um"),
        ({"shares": (0.5, 0.6), "sigma_um": (0.1, 0.2)}, "add up to 1"),
        ({"shares": (0.5, 0.5), "sigma_um": (0.1, -0.2)}, "positive widths"),
    ],
)
def test_an_impossible_spot_is_refused(spot, says):
    with pytest.raises(ValueError, match=says):
        FocalSpot(**spot)


def test_amplification_below_one_is_refused():
    with pytest.raises(ValueError, match="amplification: needs 1 or more"):
        sharpen(np.zeros((3, 96, 128), np.float32), GEOMETRY, SPOT, amplification=0.5)


def test_a_run_without_a_focal_spot_is_not_sharpened(tmp_path):
    documents = Scan(tmp_path, np.arange(40) * 9.0).documents
    with pytest.raises(ValueError, match="does not give the shape of the focal spot"):
        recon.from_run(documents, correct=False, sweeps=1, sharpen=True)


def test_a_run_with_its_focal_spot_is_sharpened(tmp_path):
    documents = Scan(tmp_path, np.arange(40) * 9.0).documents
    (_, start), *rest = documents
    told = start | {"beam": {"focal_spot": {"shares": [1.0], "sigma_um": [1.2]}}}
    options = {"correct": False, "sweeps": 1, "beam_hardening": False}
    soft, sharp = (recon.from_run([("start", s), *rest], sharpen=s is told, **options).volume for s in (start, told))
    assert np.abs(np.diff(sharp, axis=2)).max() > 1.1 * np.abs(np.diff(soft, axis=2)).max()
