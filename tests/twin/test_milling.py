import numpy as np
import pytest
from scipy.stats import norm

from xrm_sims.patterns import Annulus, CrossSection, Polygon, Rectangle
from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.milling import mill_pass
from xrm_sims.twin.sputtering import energy_gain, removal_rates
from xrm_sims.twin.surface import Surface

COARSE = Settings(surface=Settings().surface.model_copy(update={"pitch_um": 0.1}))
SHARP = {"core_fwhm_nm": 1e-3, "tail_fraction": 0.0}
SETTINGS = COARSE.model_copy(update={"ion": COARSE.ion.model_copy(update=SHARP)})  # patterns end where they are told
TURNED = np.array([[0.98, -0.05, 1.5], [0.06, 1.01, -2.0]])
RATE = SETTINGS.sputtering.rate_lco_um3_per_nc
PATTERNS = [
    Rectangle((8.0, 6.0), 1.0, passes=1),
    Polygon(((-4.0, -3.0), (4.0, -3.0), (0.0, 5.0)), 1.0, passes=1),
    Annulus(3.0, 6.0, 1.0, passes=1),
    CrossSection((8.0, 6.0), 1.0, face="+u", steps=8, passes=1),
]
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.kind)


def mill(specimen, pattern, *, surface=None, affine=TURNED, current_pa=1000.0, settings=SETTINGS, **changes):
    surface = surface or Surface.fresh(specimen, settings)
    milled = mill_pass(
        specimen,
        surface,
        scan_to_specimen=affine,
        pattern=pattern,
        current_pa=current_pa,
        fraction=1.0,
        settings=settings,
        **changes,
    )
    return surface, milled


def scan_grid(surface):
    """Return scan coordinates (u, v) of every cell under TURNED, and its depth below the original top."""
    n = len(surface.heights_um)
    axis = (np.arange(n) - 0.5 * (n - 1)) * surface.pitch_um
    x, y = np.meshgrid(axis, axis)
    u, v = np.linalg.solve(TURNED[:, :2], np.stack([x.ravel() - TURNED[0, 2], y.ravel() - TURNED[1, 2]]))
    on_slab = np.hypot(x, y) < 19.9
    return u.reshape(x.shape), v.reshape(x.shape), 4.5 - surface.heights_um.astype(float), on_slab


@each_pattern
@pytest.mark.parametrize("material", [Material.LCO, Material.BINDER])
def test_volume_removed_is_dose_times_rate(slab_of, pattern, material):
    _, milled = mill(slab_of(material), pattern)
    assert milled["dose_nc"] == pytest.approx(pattern.volume_um3 / RATE)
    # cells count by their centres: a cell's width along the rim, at random signs, is uncertain
    rim_um = 2 * np.ptp(pattern.extent_um, axis=0).sum()
    cells = 3 * np.sqrt(rim_um / 0.1) * 0.1**2
    rate = removal_rates(SETTINGS)[material]
    assert milled["removed_um3"] == pytest.approx(milled["dose_nc"] * rate, rel=0.002 + cells / pattern.area_um2)


@each_pattern
def test_depth_follows_the_pattern_and_nothing_else_is_touched(slab_of, pattern):
    surface, _ = mill(slab_of(), pattern)
    u, v, depth_um, on_slab = scan_grid(surface)
    wanted = pattern.depth_share(u, v) / abs(np.linalg.det(TURNED[:, :2]))  # the same dose on a stretched area
    assert np.count_nonzero(depth_um[on_slab & (wanted == 0)]) <= 5  # cells whose centres lie on the outline itself
    assert depth_um[wanted > 0] == pytest.approx(wanted[wanted > 0], rel=2e-3)


def test_an_annulus_leaves_a_pillar_standing(slab_of):
    surface, milled = mill(slab_of(), Annulus(2.0, 5.0, 3.0, passes=1), affine=np.eye(2, 3))
    assert surface.height_at([[0.0, 0.0], [1.8, 0.0], [6.0, 0.0]]) == pytest.approx([4.5, 4.5, 4.5])
    assert surface.height_at([[3.5, 0.0], [0.0, -4.0]]) == pytest.approx(milled["plane_z_um"], abs=1e-5)


def test_a_trench_goes_down_in_steps_over_its_passes(slab_of):
    slab, trench = slab_of(), CrossSection((4.0, 4.0), 2.0, face="+v", steps=4, passes=5)
    surface = Surface.fresh(slab, SETTINGS)
    for _ in range(trench.passes):
        mill(slab, trench, surface=surface, affine=np.eye(2, 3))
    floor = surface.height_at([[0.05, v] for v in (-1.45, -0.45, 0.45, 1.45, 2.45)])
    assert 4.5 - floor == pytest.approx([0.5, 1.0, 1.5, 2.0, 0.0], abs=2e-3)


def test_a_trench_gets_deeper_in_what_sputters_faster(slab_of):
    trench = CrossSection((6.0, 6.0), 1.0, steps=1, passes=1)
    for material in (Material.NCA, Material.BINDER, Material.STEEL):
        surface, _ = mill(slab_of(material), trench, affine=np.eye(2, 3))
        depth = 4.5 - surface.height_at([[0.05, 0.05]])[0]
        assert depth == pytest.approx(removal_rates(SETTINGS)[material] / RATE, rel=2e-3)


@each_pattern
def test_dose_and_volume_agree_on_the_pillar(pattern):
    pillar = CathodePillar(seed=6)
    flat = SETTINGS.model_copy(update={"sputtering": SETTINGS.sputtering.model_copy(update={"tilt_power": 0.0})})
    surface = Surface.fresh(pillar, flat)
    milled = mill_pass(
        pillar, surface, scan_to_specimen=TURNED, pattern=pattern, current_pa=50.0, fraction=1.0, settings=flat
    )
    rates = removal_rates(flat)
    assert (surface.removed_um3[1:] / rates[1:]).sum() == pytest.approx(milled["dose_nc"], rel=0.03)


@pytest.mark.parametrize("current_pa", [1.5, 50.0, 65000.0])
def test_current_changes_the_time_and_not_the_depth(slab_of, current_pa):
    surface, milled = mill(slab_of(), PATTERNS[0], current_pa=current_pa, settings=COARSE, affine=np.eye(2, 3))
    _, at_1_na = mill(slab_of(), PATTERNS[0])
    assert milled["seconds"] == pytest.approx(at_1_na["seconds"] * 1000.0 / current_pa)
    assert 4.5 - surface.height_at([[0.05, 0.05], [2.0, 1.0]]) == pytest.approx([1.0, 1.0], rel=0.01)


@pytest.mark.parametrize(("kind", "passes"), [(Rectangle, 1), (Rectangle, 4), (CrossSection, 1)])
@pytest.mark.parametrize("current_pa", [1000.0, 65000.0])
def test_the_flanks_of_a_box_are_the_profile_of_the_beam(slab_of, kind, current_pa, passes):
    """A straight edge is an error function: FWHM 20 nm at 50 pA, growing as I^0.4, and a tail of 150 nm with 3 %.

    It does not depend on the number of passes.
    """
    fine = COARSE.model_copy(update={"surface": COARSE.surface.model_copy(update={"pitch_um": 0.02, "width_um": 8.0})})
    steps = {"steps": 1} if kind is CrossSection else {}
    box, slab, surface = kind((4.0, 4.0), 0.8, passes=passes, **steps), slab_of(), None
    for _ in range(passes):
        surface, _ = mill(slab, box, surface=surface, affine=np.eye(2, 3), current_pa=current_pa, settings=fine)
    u = surface.first_um + surface.pitch_um * np.arange(len(surface.heights_um))
    depth_um = 4.5 - surface.height_at(np.column_stack([u, np.zeros_like(u)]))
    core_um = 1e-3 * 20.0 * (current_pa / 50.0) ** 0.4 / np.sqrt(8 * np.log(2))
    share = sum(w * (norm.cdf((u + 2.0) / s) - norm.cdf((u - 2.0) / s)) for w, s in ((0.97, core_um), (0.03, 0.15)))
    steepest = 0.01 / core_um * 0.4  # per half a cell, by which the edge may lie off
    assert depth_um == pytest.approx(0.8 * share, abs=0.8 * (steepest + 0.02))
    away = np.abs(u) > 2.0
    assert depth_um[away].sum() == pytest.approx(0.8 * share[away].sum(), rel=0.3 if current_pa < 5000 else 0.1)


@each_pattern
def test_a_wide_beam_removes_as_much_as_a_narrow_one(slab_of, pattern):
    narrow, wide = (mill(slab_of(), pattern, current_pa=i, settings=COARSE)[1] for i in (1.5, 65000.0))
    assert wide["removed_um3"] == pytest.approx(narrow["removed_um3"], rel=0.01)


@each_pattern
def test_slower_ions_get_less_deep(slab_of, pattern):
    (_, slow), (_, usual) = (mill(slab_of(), pattern, impact_energy_kev=e) for e in (5.0, None))
    gain = energy_gain(SETTINGS, 5.0)[Material.LCO]
    assert slow["removed_um3"] / usual["removed_um3"] == pytest.approx(gain, rel=2e-3)
    assert 0.5 < gain < 0.8


def test_a_pattern_half_beside_the_map_keeps_its_depth(slab_of):
    """The dose is spread over the whole pattern, also outside the map."""
    slab = slab_of(radius_um=60.0)
    _, milled = mill(slab, Annulus(18.0, 26.0, 1.0, passes=1), affine=np.eye(2, 3))
    assert 4.5 - milled["plane_z_um"] == pytest.approx(1.0, rel=2e-3)


def test_a_pattern_beside_the_map_is_refused(slab_of):
    with pytest.raises(ValueError, match="annulus: misses the mapped surface; keep it within 22 um of the axis"):
        mill(slab_of(), Annulus(1.0, 2.0, 1.0, centre_um=(60.0, 0.0)), affine=np.eye(2, 3))
