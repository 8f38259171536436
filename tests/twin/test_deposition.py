"""Platinum deposited by the ion beam: signals of every beam from above, and conservation of volume."""

import numpy as np
import pytest

from tests.twin.conftest import DEFAULTS, Slab, for_sims, small
from xrm_sims.patterns import Annulus, CrossSection, Polygon, Raster, Rectangle
from xrm_sims.specimen.materials import Material, atoms_per_um3
from xrm_sims.twin.ions import Analyser, Scan, dose_field, expected_counts
from xrm_sims.twin.microscope import Microscope
from xrm_sims.twin.milling import deposit_pass, mill_pass
from xrm_sims.twin.sector import ISOTOPES, radius_for
from xrm_sims.twin.sem_signals import eds_map, se_brightness
from xrm_sims.twin.sputtering import removal_rates
from xrm_sims.twin.surface import Surface

SHARP = DEFAULTS.ion.model_copy(update={"core_fwhm_nm": 1e-3, "tail_fraction": 0.0})
SETTINGS = DEFAULTS.model_copy(
    update={"ion": SHARP, "surface": DEFAULTS.surface.model_copy(update={"pitch_um": 0.1})}
)  # patterns end where they are told
RATE = SETTINGS.deposition.rate_um3_per_nc
STRAIGHT = np.eye(2, 3)
PATTERNS = [
    Rectangle((8.0, 6.0), 0.5, passes=1),
    Polygon(((-4.0, -3.0), (4.0, -3.0), (0.0, 5.0)), 0.5, passes=1),
    Annulus(3.0, 6.0, 0.5, passes=1),
    CrossSection((8.0, 6.0), 0.5, face="+u", steps=4, passes=1),
]


def draw(act, surface, pattern, *specimen):
    return act(
        *specimen,
        surface,
        scan_to_specimen=STRAIGHT,
        pattern=pattern,
        current_pa=100.0,
        fraction=1.0,
        settings=SETTINGS,
    )


@pytest.fixture
def coated():
    """Binder with a square of platinum, 8 um wide and 0.5 um high, in its middle; specimen and surface."""
    slab = Slab(Material.BINDER)
    surface = Surface.fresh(slab, SETTINGS)
    draw(deposit_pass, surface, Rectangle((8.0, 8.0), 0.5, passes=1))
    return slab, surface


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.kind)
def test_volume_is_dose_times_rate_and_the_layer_follows_the_pattern(pattern):
    surface = Surface.fresh(Slab(), SETTINGS)
    drawn = draw(deposit_pass, surface, pattern)
    assert drawn["dose_nc"] * RATE == pytest.approx(pattern.volume_um3)
    assert drawn["seconds"] == pytest.approx(drawn["dose_nc"] / 0.1)
    # cells count by their centres: a cell's width along the rim, at random signs, is uncertain
    cells = 3 * np.sqrt(2 * np.ptp(pattern.extent_um, axis=0).sum() / 0.1) * 0.1**2 / pattern.area_um2
    assert drawn["deposited_um3"] == pytest.approx(drawn["dose_nc"] * RATE, rel=0.002 + cells)
    axis = surface.first_um + surface.pitch_um * np.arange(len(surface.heights_um))
    wanted = pattern.depth_um * pattern.depth_share(*np.meshgrid(axis, axis))
    on_slab = np.hypot(*np.meshgrid(axis, axis)) < 19.9
    assert surface.heights_um[on_slab] - 4.5 == pytest.approx(wanted[on_slab], abs=1e-6)
    assert (surface.removed_um3 == 0).all()


def test_milling_goes_through_the_deposit_and_then_into_what_is_below(coated):
    """A dose for 0.3 um of platinum, then the same dose again: 0.2 um of platinum, then binder."""
    slab, surface = coated
    rates = removal_rates(SETTINGS)
    trench = CrossSection((4.0, 4.0), 0.3 * 0.146 / rates[Material.DEPOSIT], steps=1, passes=1)
    draw(mill_pass, surface, trench, slab)
    assert surface.height_at([[0.05, 0.05], [3.0, 3.0]]) == pytest.approx([4.7, 5.0], abs=1e-5)
    assert surface.removed_um3[Material.BINDER] == 0
    draw(mill_pass, surface, trench, slab)
    into_um = 0.1 * rates[Material.BINDER] / rates[Material.DEPOSIT]
    assert surface.height_at([[0.05, 0.05]]) == pytest.approx(4.5 - into_um, abs=1e-5)
    dose_nc = 2 * trench.dose_nc(0.146)
    assert (surface.removed_um3[1:] / rates[1:]).sum() == pytest.approx(dose_nc, rel=1e-3)


def test_what_was_put_down_is_there_or_was_milled(coated):
    slab, surface = coated
    for pattern in PATTERNS:
        draw(mill_pass, surface, pattern, slab)
        draw(deposit_pass, surface, pattern)
    left_um3 = surface.deposit_um.sum(dtype=float) * surface.pitch_um**2
    assert left_um3 > 1.0
    assert left_um3 + surface.removed_um3[Material.DEPOSIT] == pytest.approx(surface.deposited_um3, rel=1e-5)


def test_a_plane_is_milled_flat_across_the_rim_of_a_deposit(coated):
    slab, surface = coated
    drawn = draw(mill_pass, surface, Rectangle((12.0, 4.0), 0.6, passes=1), slab)
    floor = surface.height_at([[u, 0.05] for u in (-5.0, -3.0, 0.0, 3.0, 5.0)])
    assert floor == pytest.approx(min(drawn["plane_z_um"], 4.5), abs=1e-5)
    dose_nc = (surface.removed_um3[1:] / removal_rates(SETTINGS)[1:]).sum()
    assert dose_nc == pytest.approx(drawn["dose_nc"], rel=0.03)


def test_every_beam_from_above_meets_platinum(coated):
    slab, surface = coated
    places = np.array([[0.0, 0.0], [8.0, 0.0]])
    view = surface.look(slab, places)
    assert view.codes.tolist() == [Material.DEPOSIT, Material.BINDER]
    assert view.points_um[:, 2] == pytest.approx([5.0 - 0.001, 4.5 - 0.001], abs=1e-5)
    assert view.material_below(slab, 0.3).tolist() == [Material.DEPOSIT, Material.BINDER]
    assert view.material_below(slab, 0.6).tolist() == [Material.BINDER, Material.BINDER]
    assert se_brightness(SETTINGS)[view.codes[0]] > 2 * se_brightness(SETTINGS)[view.codes[1]]


def test_eds_sees_through_a_film_and_not_through_a_thick_layer():
    """The range at 15 kV is one micrometre: nickel is weaker under 0.5 um of platinum and absent under 5 um."""
    nca = Slab(Material.NCA)
    scan = Scan(Raster((16, 16), 4.0, 5.0), STRAIGHT, 1e5)
    maps = {}
    for name, layer_um in (("bare", 0.0), ("film", 0.5), ("thick", 5.0)):
        ground = Surface.fresh(nca, SETTINGS)
        if layer_um:
            draw(deposit_pass, ground, Rectangle((8.0, 8.0), layer_um, passes=1))
        rng = np.random.default_rng(1)
        maps[name] = eds_map(
            nca, ground, scan, voltage_kv=15.0, elements=("Ni", "Pt"), settings=SETTINGS, rng=rng
        ).mean(axis=(1, 2))
    assert maps["film"][0] < 0.8 * maps["bare"][0]
    assert maps["thick"][0] < 0.02 * maps["bare"][0]
    assert maps["bare"][1] < maps["film"][1] < maps["thick"][1]


def test_lithium_is_gone_under_platinum_and_comes_back_when_it_is_milled_away(tmp_path):
    square = Rectangle((16.0, 16.0), 0.2, passes=1)
    with Microscope(tmp_path, settings=small(), specimen=Slab(Material.LCO)) as scope:
        for_sims(scope, fov_um=6.0)
        before = scope.sector.raster_frame().counts[0].mean()
        scope.fib.put("current_pa", 1500.0)
        grown = scope.fib.deposit_pass(square.as_dict())
        assert set(grown) == {"dose_nc", "seconds"}
        assert grown["dose_nc"] == pytest.approx(square.volume_um3 / RATE)
        scope.fib.put("current_pa", 50.0)
        assert scope.sector.raster_frame().counts[0].mean() < 0.02 * before
    with Microscope(tmp_path, settings=small(), specimen=Slab(Material.LCO)) as scope:  # the layer has outlived it
        assert scope.truth().surface.deposited_um3 == pytest.approx(square.volume_um3, rel=0.03)
        scope.fib.mill_pass(Rectangle((10.0, 10.0), 1.0, passes=1).as_dict())
        assert scope.sector.raster_frame().counts[0].mean() > 0.9 * before


def test_counted_atoms_of_platinum_are_fewer_than_those_removed(coated):
    slab, surface = coated
    radii = [radius_for(ISOTOPES[name].mass_u, 3000.0, 0.25) for name in ("194Pt", "195Pt", "196Pt", "198Pt")]
    analyser = Analyser(500.0, 2500.0, 0.25, radii)
    scan = Scan(Raster((32, 32), 4.0, 1.0), STRAIGHT, 50.0)
    ions = expected_counts(slab, surface, scan, analyser, settings=SETTINGS, rng=np.random.default_rng(1))
    dose_field(slab, surface, scan, seconds=scan.raster.frame_s, settings=SETTINGS)
    removed_um3 = surface.removed_um3[Material.DEPOSIT]
    assert removed_um3 > 0
    assert 0 < ions.sum() < 0.2 * removed_um3 * atoms_per_um3(Material.DEPOSIT)


@pytest.mark.parametrize(
    ("pattern", "current_pa", "sentence"),
    [
        (Rectangle((2.0, 2.0), 0.1), 1000.0, r"1000 pA on 4 um\^2 use up the precursor gas .* take 120 pA at most"),
        (Rectangle((9.0, 9.0), 0.1, solid_fraction=0.7), 50.0, "solid_fraction: a deposit is solid, needs 1, got 0.7"),
        (Annulus(1.0, 2.0, 0.1, centre_um=(60.0, 0.0)), 50.0, "annulus: misses the mapped surface"),
    ],
)
def test_refused_deposits(tmp_path, pattern, current_pa, sentence):
    with Microscope(tmp_path, settings=small(), specimen=Slab(Material.LCO)) as scope:
        for_sims(scope)
        scope.fib.put("current_pa", current_pa)
        heights = scope.truth().surface.heights_um.copy()
        with pytest.raises(ValueError, match=sentence):
            scope.fib.deposit_pass(pattern.as_dict())
        assert (scope.truth().surface.heights_um == heights).all()
