import numpy as np
import pytest

from xrm_sims.settings import Settings, XrayGeometry
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.twin.spectrum import detection_efficiency, emission, pixel_rate, target_materials

SETTINGS = Settings()


def _detected(settings=SETTINGS, threshold_kev=4.0, **beam):
    energies, rate = pixel_rate(settings, **({"target": "W", "voltage_kv": 30.0, "current_na": 400.0} | beam))
    return energies, rate * detection_efficiency(energies, settings.detector, threshold_kev)


def test_tungsten_open_beam():
    """The tube-spectrum code's own figures: 22.8 photons/s above 1 keV, mean 8.98 keV, 1,453 counts in 90 s."""
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    assert rate.sum() == pytest.approx(22.8, rel=0.01)
    assert (energies * rate).sum() / rate.sum() == pytest.approx(8.98, rel=0.01)
    assert 90 * _detected()[1].sum() == pytest.approx(1453, rel=0.1)


@pytest.mark.parametrize(("thickness_um", "lco", "nca"), [(0.001, 596, 577), (10, 557, 540), (45, 437, 428)])
def test_effective_attenuation_under_tungsten(thickness_um, lco, nca):
    energies, detected = _detected()
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
    totals = [emission(target, v)[1].sum() for v in (4, 8, 10, 12.5, 15, 22, 28, 30)]
    assert (np.diff(totals) > 0).all()
    for voltage_kv in (12.5, 30.0):
        energies, photons = emission(target, voltage_kv)
        assert energies[photons > 0].max() <= voltage_kv


def test_silicon_efficiency():
    """300 um of silicon, as tabulated; the threshold passes half of the photons at its own energy."""
    efficiency = detection_efficiency([8.4, 9.67, 15.0, 20.0], SETTINGS.detector, 4.0)
    assert efficiency == pytest.approx([0.980, 0.926, 0.514, 0.268], abs=0.01)
    low = detection_efficiency([3.0, 4.0, 5.0], SETTINGS.detector, 4.0)
    assert low == pytest.approx([0.0003, 0.5, 0.9997], abs=0.001)


def test_unknown_target_and_voltage_are_refused():
    with pytest.raises(ValueError, match="target: needs one of W, Cu, Cr, got 'Mo'"):
        emission("Mo", 30.0)
    with pytest.raises(ValueError, match="voltage_kv: needs more than 0 and at most 30 kV, got 40"):
        emission("W", 40.0)
