import numpy as np
import pytest

from xrm_sims.settings import Detector, Settings, XrayGeometry
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.twin.spectrum import detection_efficiency, emission, pixel_rate, target_materials

SETTINGS = Settings()
ALONE = Settings(detector=Detector(charge_sigma_um=0.0))  # every pixel keeps its charge


def _detected(settings=SETTINGS, threshold_kev=4.0, **beam):
    energies, rate = pixel_rate(settings, **({"target": "W", "voltage_kv": 30.0, "current_na": 400.0} | beam))
    return energies, rate * detection_efficiency(energies, settings.detector, threshold_kev)


def test_tungsten_open_beam():
    """Values of the spectrum code: 22.8 photons/s above 1 keV, mean 8.98 keV, 1,453 counts in 90 s."""
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    assert rate.sum() == pytest.approx(22.8, rel=0.01)
    assert (energies * rate).sum() / rate.sum() == pytest.approx(8.98, rel=0.01)
    assert 90 * _detected(ALONE)[1].sum() == pytest.approx(1453, rel=0.01)
    assert 90 * _detected()[1].sum() == pytest.approx(1453, rel=0.04)  # some photons at borders are lost, some doubled


@pytest.mark.parametrize(("thickness_um", "lco", "nca"), [(0.001, 596, 577), (10, 557, 540), (45, 437, 428)])
def test_effective_attenuation_under_tungsten(thickness_um, lco, nca):
    energies, detected = _detected(ALONE)
    for material, expected in ((Material.LCO, lco), (Material.NCA, nca)):
        mu = attenuation_per_um(material, energies)
        transmission = (detected * np.exp(-mu * thickness_um)).sum() / detected.sum()
        assert -np.log(transmission) / thickness_um * 1e4 == pytest.approx(expected, rel=0.03)


def test_copper_tells_the_active_materials_apart():
    """Its K alpha line lies between the K edges of Co and Ni."""
    energies, detected = _detected(target="Cu")
    lco, nca = ((detected * attenuation_per_um(m, energies)).sum() for m in (Material.LCO, Material.NCA))
    assert lco / nca > 1.8


def test_rate_scales_with_current_and_distance():
    far = Settings(xray=XrayGeometry(source_detector_mm=880.0))
    one = pixel_rate(SETTINGS, "W", 30.0, 100.0)[1]
    assert np.allclose(pixel_rate(SETTINGS, "W", 30.0, 400.0)[1], 4 * one)
    assert np.allclose(pixel_rate(far, "W", 30.0, 100.0)[1], one / 4)


@pytest.mark.parametrize("target", target_materials())
def test_more_voltage_more_photons(target):
    totals = [emission(target, v)[1].sum() for v in (10, 11, 12.5, 15, 22, 28, 30)]
    assert (np.diff(totals) > 0).all()
    for voltage_kv in (12.5, 30.0):
        energies, photons = emission(target, voltage_kv)
        assert energies[photons > 0].max() <= voltage_kv


def test_silicon_efficiency():
    """300 um of silicon, as tabulated; the threshold passes half of the photons at its own energy."""
    efficiency = detection_efficiency([8.4, 9.67, 15.0, 20.0], ALONE.detector, 4.0)
    assert efficiency == pytest.approx([0.980, 0.926, 0.514, 0.268], abs=0.01)
    thicker = ALONE.detector.model_copy(update={"sensor_um": 500.0})
    assert detection_efficiency([8.4, 9.67, 15.0, 20.0], thicker, 4.0) == pytest.approx(
        [0.999, 0.987, 0.700, 0.405], abs=0.01
    )
    low = detection_efficiency([3.0, 4.0, 5.0], ALONE.detector, 4.0)
    assert low == pytest.approx([0.0003, 0.5, 0.9997], abs=0.001)


def test_unknown_target_and_voltage_are_refused():
    with pytest.raises(ValueError, match="target: needs one of W, Cu, Cr, got 'Mo'"):
        emission("Mo", 30.0)
    with pytest.raises(ValueError, match="voltage_kv: the table of spectra reaches from 10 to 30 kV, got 40"):
        emission("W", 40.0)
    with pytest.raises(ValueError, match="got 4; slower electrons make next to no photons above"):
        emission("W", 4.0)
    with pytest.raises(ValueError, match="take_off_deg: the table of spectra reaches from 10 to 60 deg, got 5"):
        emission("W", 30.0, 5.0)


@pytest.mark.parametrize(
    ("target", "voltage_kv", "take_off_deg", "photons", "mean_kev"),
    [("W", 23.0, 30.0, 2.539e8, 7.513), ("Cu", 27.0, 25.0, 2.515e8, 7.855), ("Cr", 14.0, 38.0, 1.128e8, 4.741)],
)
def test_between_the_tabulated_points_it_is_what_the_tube_code_says(
    target, voltage_kv, take_off_deg, photons, mean_kev
):
    """Compare with spectra of spekpy 2.5.4 (casim) between the points of the table."""
    energies, fluence = emission(target, voltage_kv, take_off_deg)
    assert fluence.sum() == pytest.approx(photons, rel=0.015)
    assert (energies * fluence).sum() / fluence.sum() == pytest.approx(mean_kev, rel=0.01)


@pytest.mark.parametrize("target", target_materials())
def test_the_flatter_the_take_off_the_fewer_and_harder_the_photons(target):
    """The path in the target is longer, so self-absorption removes mainly soft photons."""
    found = [emission(target, 30.0, angle) for angle in (10.0, 17.0, 30.0, 50.0, 60.0)]
    assert (np.diff([photons.sum() for _, photons in found]) > 0).all()
    assert (np.diff([np.average(energies, weights=photons) for energies, photons in found]) < 0).all()


def test_lines_of_the_targets():
    """Siegbahn energies in keV: Cu K alpha and K beta, Cr K alpha, W L alpha 1 and L beta 1."""
    for target, line_kev in (("Cu", 8.046), ("Cu", 8.905), ("Cr", 5.415), ("W", 8.398), ("W", 9.672)):
        energies, photons = emission(target, 30.0)
        assert np.abs(energies[photons > 0] - line_kev).min() < 0.02


def test_no_k_line_of_copper_below_its_edge():
    """The K edge is 8.98 keV: the line disappears towards it."""
    above, below = emission("Cu", 30.0), emission("Cu", 10.0)
    share = [photons[np.abs(energies - 8.038) < 0.01].sum() / photons.sum() for energies, photons in (above, below)]
    assert share[0] > 0.3
    assert share[1] < 0.1 * share[0]
