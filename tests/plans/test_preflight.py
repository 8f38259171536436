import pytest

from plans import eds_map, mill, preflight, se_image, sims_raster, tomography
from xrm_sims.patterns import Rectangle


def test_the_papers_scan_takes_thirty_hours_and_its_frames(scope, state):
    before = state()
    flight = preflight(
        scope, tomography, num=1200, exposure_s=90.0, num_dark=0, num_flat=1, flat_every=0, reference_every=0
    )
    assert flight.ok
    assert flight.estimate.time_s / 3600 == pytest.approx(30.0, rel=0.01)
    assert flight.estimate.disk_bytes == 1202 * 256 * 1280 * 4
    assert "30.1 h" in str(flight)
    assert state() == before


def test_the_papers_raster_takes_144_s_and_7_5_nm(scope):
    """(11.8 um)^2 with 50 pA and 0.55 ms: 144 s, 7.5 nm of LCO."""
    estimate = preflight(scope, sims_raster, fov_um=11.8).estimate
    assert estimate.time_s == pytest.approx(144.2, abs=0.1)
    assert estimate.eroded_nm == pytest.approx(7.5, rel=0.02)
    assert estimate.dose_nc == pytest.approx(0.05 * 144.2, rel=0.01)


def test_milling_the_papers_box_takes_72_minutes(scope):
    estimate = preflight(scope, mill, pattern=Rectangle((20.7, 20.7), 1.5)).estimate
    assert estimate.time_s / 60 == pytest.approx(72, rel=0.03)
    assert estimate.eroded_nm == 1500


def test_images_are_weighed_too(scope):
    assert preflight(scope, se_image, fov_um=40.0, source="ion").estimate.eroded_nm > 0
    assert preflight(scope, se_image, fov_um=40.0).estimate.eroded_nm == 0
    assert preflight(scope, eds_map, elements=("Ni", "Co"), fov_um=40.0).estimate.disk_bytes == 2 * 128 * 128 * 4


def test_refusals_are_sentences_not_exceptions(scope):
    flight = preflight(scope, tomography, exposure_s=-1.0)
    assert not flight.ok
    assert flight.problems == ("exposure_s: needs a number above 0, got -1.0",)
    assert "refused" in str(flight)
    assert not preflight(scope, sims_raster, fov_um=10.0, bias_v=0.0).ok


def test_more_frames_than_the_disk_holds_are_refused(scope):
    flight = preflight(scope, tomography, num=1_000_000, step_deg=1e-4)
    assert "are needed" in flight.problems[0]


def test_limits_of_the_instrument_are_part_of_it(scope):
    assert not preflight(scope, tomography, exposure_s=1e6).ok
    assert not preflight(scope, mill, pattern=Rectangle((6.0, 6.0), 0.1), current_pa=1e9).ok
