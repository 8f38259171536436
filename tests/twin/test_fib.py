"""The gallium column of the simulated microscope: voltage, bias, charge and patterns, through its drivers."""

import numpy as np
import pytest

from tests.twin.conftest import DEFAULTS, Slab, for_sims, small
from xrm_sims.patterns import Annulus, CrossSection, Polygon
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.microscope import Microscope
from xrm_sims.twin.sputtering import energy_gain


@pytest.fixture
def scope(tmp_path):
    with Microscope(tmp_path, settings=small(), specimen=Slab(Material.LCO)) as microscope:
        for_sims(microscope)
        yield microscope


def removed_per_nc(scope, act):
    """Return um^3 per nC removed by a function that uses the beam."""
    surface, dose_nc = scope.truth().surface, scope.fib.get("dose_nc")
    before = surface.removed_um3.sum()
    act()
    return (surface.removed_um3.sum() - before) / (scope.fib.get("dose_nc") - dose_nc)


@pytest.mark.parametrize(("voltage_kv", "bias_v"), [(30.0, 500.0), (30.0, 1000.0), (8.0, 500.0), (2.0, 200.0)])
def test_voltage_and_bias_make_the_impact_energy_that_erodes(scope, voltage_kv, bias_v):
    scope.fib.put("blanked", True)
    scope.fib.put("voltage_kv", voltage_kv)
    scope.stage.put("bias_v", bias_v)
    scope.fib.put("blanked", False)
    gain = energy_gain(DEFAULTS, voltage_kv - 1e-3 * bias_v)[Material.LCO]
    ring = Annulus(2.0, 4.0, 0.1, passes=1)
    for act in (scope.sector.raster_frame, lambda: scope.fib.mill_pass(ring.as_dict())):
        # fields of 10 um and rings of 4 um on cells of 0.2 um
        assert removed_per_nc(scope, act) == pytest.approx(0.146 * gain, rel=0.05)


def test_useful_signal_falls_with_the_voltage(scope):
    usual = scope.sector.raster_frame().counts[0].sum()
    scope.fib.put("voltage_kv", 5.0)
    slow = scope.sector.raster_frame().counts[0].sum()
    assert slow / usual == pytest.approx(energy_gain(DEFAULTS, 4.5)[Material.LCO], rel=0.08)


def test_charge_moves_the_scan_in_proportion_to_the_current(tmp_path):
    ion = DEFAULTS.ion.model_copy(update={"charging_nm_per_na": (300.0, -100.0)})
    ball = Slab(Material.BINDER, spheres=[(0.0, 0.0, 4.5, 1.5, Material.LCO)])
    places = []
    with Microscope(tmp_path, settings=small(ion=ion), specimen=ball) as scope:
        for_sims(scope, side=64, fov_um=16.0)
        affine = scope.truth().scan_to_specimen
        for current_pa in (50.0, 2050.0):
            scope.fib.put("current_pa", current_pa)
            lithium = scope.sector.raster_frame().counts[0].astype(float)
            lithium[lithium < 0.2 * lithium.max()] = 0.0
            places.append([np.average(i, weights=lithium) * 0.25 for i in np.indices(lithium.shape)])
    (v0, u0), (v1, u1) = places
    assert np.linalg.det(affine[:, :2]) == pytest.approx(1.0, abs=0.05)
    assert (u0 - u1, v0 - v1) == pytest.approx((0.6, -0.2), abs=0.06)  # 2 nA more


@pytest.mark.parametrize(
    "pattern",
    [
        Polygon(((-3.0, -3.0), (3.0, -3.0), (0.0, 4.0)), 0.2, passes=2),
        Annulus(1.0, 4.0, 0.2, passes=2),
        CrossSection((5.0, 5.0), 0.4, steps=5, passes=2),
    ],
    ids=lambda p: p.kind,
)
@pytest.mark.parametrize("current_pa", [1.5, 65000.0])
def test_patterns_are_milled_from_their_dictionaries(scope, pattern, current_pa):
    scope.fib.put("current_pa", current_pa)
    milled = scope.fib.mill_pass(pattern.as_dict())
    assert milled["dose_nc"] == pytest.approx(pattern.dose_nc(0.146) / 2)
    assert milled["seconds"] == pytest.approx(milled["dose_nc"] / (1e-3 * current_pa))


def test_refused_patterns(scope):
    with pytest.raises(ValueError, match="annulus: reaches 240 um across the scan centre"):
        scope.fib.mill_pass(Annulus(1.0, 120.0, 1.0).as_dict())
    vertices = [[0, 0], [1, 1], [1, 0], [0, 1]]
    with pytest.raises(ValueError, match="the polygon crosses itself"):
        scope.fib.mill_pass({"kind": "polygon", "vertices_um": vertices, "depth_um": 1.0})
    with pytest.raises(ValueError, match=r"fib\.current_pa: needs 1\.5 to 65000 pA, got 1"):
        scope.fib.put("current_pa", 1.0)
