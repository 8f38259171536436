"""Interferences, gallium, redeposition and tilt in SIMS frames, and conservation of atoms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings, SurfaceGrid
from xrm_sims.specimen.materials import Material, atomic_fractions, atoms_per_um3
from xrm_sims.twin import ions, sector
from xrm_sims.twin.sputtering import tilt_gain
from xrm_sims.twin.surface import Surface

BASE = Settings(surface=SurfaceGrid(width_um=6.0))
IDENTITY = np.eye(2, 3)
RASTER = Raster((64, 64), 4.0, 0.55)


def with_settings(**sections):
    """Return the base settings with changed values of sections: sputtering={...}, sector={...}."""
    return BASE.model_copy(update={name: getattr(BASE, name).model_copy(update=v) for name, v in sections.items()})


def scan_of(raster=RASTER, current_pa=50.0, energy_kev=None):
    return ions.Scan(raster, IDENTITY, current_pa, impact_energy_kev=energy_kev)


def analyser_for(channels, **changes):
    setup = {"bias_v": 500.0, "extraction_v": 2500.0, "field_t": 0.5}
    return ions.Analyser(**setup, collector_radii_mm=sector.collector_radii(channels, BASE), **changes)


def expected(specimen, surface, *, channels=BASE.sector.channels, scan=None, s=BASE, seed=0, **changes):
    """Return the mean ions (channel, row, column) of the next frame, without taking it."""
    analyser = analyser_for(channels, **changes)
    rng = np.random.default_rng(seed)
    return ions.expected_counts(specimen, surface, scan or scan_of(), analyser, settings=s, rng=rng)


def settled(specimen, s=BASE):
    surface = Surface.fresh(specimen, s)
    surface.eroded_um[:] = 1.0
    return surface


def middle(maps):
    """Return means per channel, away from the rim."""
    return maps[:, 24:40, 24:40].mean(axis=(1, 2))


# interferences


def test_iron_is_mistaken_for_nickel_and_only_where_there_is_iron(slab_of):
    steel, nca, lco = (
        middle(expected(s := slab_of(m), settled(s))) for m in (Material.STEEL, Material.NCA, Material.LCO)
    )
    share = 0.0028 / 0.6808 * np.exp(-(7.902 - 7.640) / 0.6)  # abundances, ionisation energies
    atoms = BASE.sputtering.yield_metal / (BASE.sputtering.yield_nca * 0.2)
    assert steel[2] / nca[2] == pytest.approx(share * atoms, rel=0.01)
    assert lco[2] < 1e-3


@pytest.mark.parametrize(
    ("material", "channel", "carrier", "carrier_u"),
    [(Material.NCA, "59Co", "58Ni", 57.935342), (Material.LCO, "7Li", "6Li", 6.015123)],
)
def test_hydrides_pass_the_slit_of_the_next_mass(slab_of, material, channel, carrier, carrier_u):
    slab = slab_of(material)
    with_hydride, without = (
        middle(
            expected(slab, settled(slab), channels=(channel, carrier), s=with_settings(sector={"hydride_per_ion": h}))
        )
        for h in (0.1, 0.0)
    )
    place_mm = sector.collector_radii([channel], BASE)[0]
    where = {"voltage_v": 3000.0, "field_t": 0.5, "sector": BASE.sector}
    passing = sector.accepted_fraction(carrier_u + 1.007825, place_mm, **where) / sector.centred_fraction(BASE.sector)
    assert passing > 0.5  # 5,909 and 1,010 are needed to tell them apart, 450 is what there is
    assert with_hydride[0] - without[0] == pytest.approx(0.1 * without[1] * passing, rel=1e-3)


@pytest.mark.parametrize(
    ("channel", "molecule", "needed"),
    [("27Al", "C2H3", 643), ("27Al", "CHN", 919), ("59Co", "C3H7O", 506)],
)
def test_molecules_from_binder_need_the_resolving_powers_known(channel, molecule, needed):
    mass_u = sector.ISOTOPES[channel].mass_u
    assert mass_u / abs(sector.MOLECULES_U[molecule] - mass_u) == pytest.approx(needed, rel=0.01)


def test_a_narrower_slit_keeps_the_hydrocarbon_out_of_aluminium(slab_of):
    bare = slab_of(Material.BINDER, aluminium=0.0)
    off = with_settings(sector={"hydrocarbon_on_al": False})
    wide, narrow = (middle(expected(bare, settled(bare), slit_mm=slit))[1] for slit in (0.19, 0.04))
    assert wide == pytest.approx(1 / 3, abs=0.04)  # of one per pixel
    assert narrow < 0.2 * wide
    assert middle(expected(bare, settled(bare), s=off))[1] < 1e-4
    organic = middle(expected(bare, settled(bare), s=with_settings(sector={"other_organics_per_ion": 5.83e-6})))
    assert organic[1] > wide + 0.3  # 12C14NH lies closer to 27Al than C2H3
    assert organic[3] > 0.1  # C3H7O on 59Co


# gallium


def test_a_fresh_surface_settles_within_the_range_of_gallium(slab_of):
    slab = slab_of()
    surface, steady = Surface.fresh(slab, BASE), middle(expected(s := slab_of(), settled(s)))[0]
    lithium, depth_um = [], []
    for seed in range(12):
        before = surface.height_at([[0.0, 0.0]])[0]
        lithium.append(middle(expected(slab, surface, seed=seed))[0])
        ions.dose_field(slab, surface, scan_of(), seconds=RASTER.frame_s, settings=BASE)
        depth_um.append(4.5 - 0.5 * (before + surface.height_at([[0.0, 0.0]])[0]))
    missing = 1.0 - np.array(lithium) / steady
    at_once = -BASE.sputtering.gallium_on_ion_yield / (1.0 + BASE.sputtering.yield_lco)
    assert missing == pytest.approx(at_once * np.exp(-np.array(depth_um) / 0.014), abs=2e-3)
    assert 0.8 < lithium[0] / steady < 1.0


def test_a_pore_that_opens_shows_a_fresh_surface(slab_of):
    pore = slab_of(spheres=[(0.0, 0.0, 3.99, 0.5, Material.VACUUM)])  # under a roof of 10 nm
    surface = Surface.fresh(pore, BASE)
    for _ in range(20):
        ions.dose_field(pore, surface, scan_of(), seconds=RASTER.frame_s, settings=BASE)
    view = surface.look(pore, np.array([[0.0, 0.0], [1.5, 0.0]]))
    assert view.points_um[0, 2] < 4.0
    assert view.eroded_um[0] < view.eroded_um[1]
    assert view.eroded_um[1] == pytest.approx(4.5 - surface.height_at([[1.5, 0.0]])[0], abs=1e-5)


# redeposition


def test_redeposited_lithium_is_a_floor_on_binder(slab_of):
    half = slab_of(Material.BINDER, spheres=[(-1.5, 0.0, 4.5, 1.2, Material.LCO)])
    surface = settled(half)
    on, off = (expected(half, surface, s=with_settings(sputtering={"redeposited_fraction": f}))[0] for f in (0.01, 0.0))
    u = ions.pixel_points(scan_of())[..., 0]
    far = (u > 1.2) & (u < 1.8)
    assert off[far].max() < 1e-3
    assert 1e-4 < on[far].mean() / off.max() < 1e-3  # 1.5 to 2 standard deviations away
    assert on.sum() < off.sum()
    assert on.sum() == pytest.approx(off.sum(), rel=0.01)


def test_redeposition_changes_nothing_on_even_ground(slab_of):
    slab = slab_of()
    surface, raster = settled(slab), Raster((96, 96), 5.6, 0.55)
    some = with_settings(sputtering={"redeposited_fraction": 0.3, "redeposition_um": 0.3})
    on, off = (expected(slab, surface, scan=scan_of(raster), s=s)[0] for s in (some, BASE))
    assert on[40:56, 40:56].mean() == pytest.approx(off[40:56, 40:56].mean(), rel=1e-3)
    assert on[0, 0] < 0.85 * off[0, 0]  # a corner loses what lands outside


def test_spread_is_about_a_gaussian_and_loses_only_over_the_rim():
    point = np.zeros((1, 201, 201))
    point[0, 100, 100] = 1.0
    blurred = ions.spread(point, 12.0)
    assert blurred.sum() == pytest.approx(1.0)
    rows = np.arange(201) - 100
    assert (blurred[0].sum(axis=1) * rows**2).sum() == pytest.approx(144.0, rel=0.1)
    assert ions.spread(np.ones((1, 50, 50)), 12.0).sum() < 2500


# tilt and energy


@pytest.mark.parametrize("slope", [0.5, 1.7, 3.0])
def test_a_ramp_sputters_as_its_tilt_says(slab_of, slope):
    slab = slab_of()
    flat, ramp = settled(slab), settled(slab)
    n = len(ramp.heights_um)
    ramp.heights_um[:] = -5.0 + slope * ramp.pitch_um * (np.arange(n) - 0.5 * n)
    before = ramp.heights_um.copy()
    counts = [middle(expected(slab, surface))[0] for surface in (flat, ramp)]
    for surface in (flat, ramp):
        ions.dose_field(slab, surface, scan_of(), seconds=RASTER.frame_s, settings=BASE)
    cos_tilt = 1 / np.hypot(1.0, slope)
    gain = float(tilt_gain(cos_tilt, BASE))
    lost = [4.5 - flat.height_at([[0, 0]])[0], (before - ramp.heights_um)[n // 2, n // 2]]
    assert lost[1] / lost[0] == pytest.approx(gain, rel=5e-3)
    open_sky = ramp.look(slab, np.zeros((1, 2))).sky[0]
    assert counts[1] / counts[0] == pytest.approx(gain * cos_tilt * open_sky, rel=0.02)


def test_slower_ions_count_and_erode_less_in_the_same_proportion(slab_of):
    slab = slab_of()
    counts, lost = [], []
    for energy_kev in (5.0, 29.5):
        surface = settled(slab)
        counts.append(middle(expected(slab, surface, scan=scan_of(energy_kev=energy_kev)))[0])
        ions.dose_field(slab, surface, scan_of(energy_kev=energy_kev), seconds=RASTER.frame_s, settings=BASE)
        lost.append(4.5 - surface.height_at([[0.0, 0.0]])[0])
    assert counts[0] / counts[1] == pytest.approx(lost[0] / lost[1], rel=1e-3)
    assert counts[0] / counts[1] == pytest.approx(0.64, abs=0.05)


# conservation

RICH = [
    (-1.2, 0.0, 4.2, 1.0, Material.LCO),
    (1.2, 0.3, 4.0, 1.1, Material.NCA),
    (0.2, -1.5, 4.3, 0.6, Material.NCA_BOUNDARY),
    (0.0, 1.4, 4.5, 0.5, Material.VACUUM),
    (0.5, 0.5, 3.6, 0.4, Material.VACUUM),
]


@settings(max_examples=40, deadline=None)
@given(
    fov_um=st.floats(0.1, 40.0),
    dwell_ms=st.floats(1e-4, 1000.0),
    current_pa=st.floats(1.5, 65000.0),
    slope=st.floats(0.0, 6.0),
    again=st.floats(0.0, 1.0),
    centre_um=st.tuples(st.floats(-30.0, 30.0), st.floats(-30.0, 30.0)),
    energy_kev=st.floats(1.0, 30.0),
    seed=st.integers(0, 2**31),
)
def test_no_atom_is_counted_that_was_not_removed(
    slab_of, fov_um, dwell_ms, current_pa, slope, again, centre_um, energy_kev, seed
):
    """For any field, dwell, current, tilt and redeposition, channel by channel and with all useful yields at most
    lithium's: ions expected of an element are at most its useful yield times its atoms removed."""
    s = with_settings(
        sputtering={"redeposited_fraction": again},
        sector={"hydrocarbon_on_al": False, "dark_rate_cps": 0.0, "hydride_per_ion": 0.0, "dead_time_ns": 0.0},
    )
    channels = ("6Li", "7Li", "27Al", "59Co")
    specimen = slab_of(Material.BINDER, aluminium=0.0, spheres=RICH)
    surface = Surface.fresh(specimen, s)
    n = len(surface.heights_um)
    surface.heights_um -= (slope * surface.pitch_um * np.arange(n)).astype(np.float32)
    scan = scan_of(Raster((24, 24), fov_um, dwell_ms, centre_um), current_pa, energy_kev)
    before = surface.removed_um3.copy()
    counts = ions.raster_frame(
        specimen, surface, scan, analyser_for(channels), settings=s, rng=np.random.default_rng(seed)
    )
    removed = surface.removed_um3 - before
    counted = counts.sum(axis=(1, 2)).astype(float)
    atoms = {
        e: sum(removed[m] * atoms_per_um3(m) * atomic_fractions(m).get(e, 0.0) for m in Material)
        for e in ("Li", "Al", "Co")
    }
    for of_channel, element in ((counted[:2].sum(), "Li"), (counted[2], "Al"), (counted[3], "Co")):
        assert of_channel <= atoms[element]
    everything = sum(removed[m] * atoms_per_um3(m) for m in Material)
    assert counted.sum() <= 4e-3 * everything + 6 * np.sqrt(4e-3 * everything) + 6


def test_a_beam_that_drills_through_runs_out_of_atoms(slab_of):
    """65 nA on a tenth of a micrometre square for nine minutes: 44.5 um of slab are all there is."""
    slab = slab_of()
    s = with_settings(sector={"dark_rate_cps": 0.0, "dead_time_ns": 0.0})
    surface = Surface.fresh(slab, s)
    scan = scan_of(Raster((24, 24), 0.1, 1000.0), 65000.0)
    counts = ions.raster_frame(
        slab, surface, scan, analyser_for(("7Li",)), settings=s, rng=np.random.default_rng(0)
    ).sum()
    atoms = surface.removed_um3 @ [atoms_per_um3(m) for m in Material]
    assert counts == pytest.approx(4e-3 * 0.9241 * 0.25 * atoms, rel=0.02)  # a quarter of the atoms is lithium
    assert 100 * counts < expected(slab, Surface.fresh(slab, s), scan=scan, channels=("7Li",)).sum()


# spheres rich in 6Li

LITHIUM = ("6Li", "7Li", "27Al", "59Co")


def rich(*spheres_um, **sections):
    return with_settings(specimen={"enriched_um": spheres_um, "enriched_6li_share": 0.5}, **sections)


def test_a_sphere_rich_in_6li_changes_the_isotopes_and_nothing_else(slab_of):
    slab = slab_of()
    natural, planted = (
        expected(slab, settled(slab), s=s, channels=LITHIUM) for s in (BASE, rich((0.0, 0.0, 4.5, 1.0)))
    )
    np.testing.assert_array_equal(planted[2:], natural[2:])
    np.testing.assert_allclose(planted[:2].sum(axis=0), natural[:2].sum(axis=0), rtol=2e-3)  # a little 6LiH on 7Li
    light, heavy = middle(planted)[:2]
    assert light / heavy == pytest.approx(1.0, rel=0.02)
    assert planted[0, 0, 0] / planted[1, 0, 0] == pytest.approx(0.0821, rel=0.02)


def test_a_sphere_elsewhere_changes_no_count(slab_of):
    slab = slab_of()
    frames = [
        ions.raster_frame(
            slab, settled(slab), scan_of(), analyser_for(LITHIUM), settings=s, rng=np.random.default_rng(3)
        )
        for s in (BASE, rich((0.0, 0.0, -10.0, 2.0), (15.0, 0.0, 4.5, 2.0)))
    ]
    np.testing.assert_array_equal(*frames)


def test_drilling_through_a_sphere_brings_the_6li_that_was_in_it(slab_of):
    """Half a micrometre of 44.5 um is enriched; what stood at the top is no measure of what there is."""
    slab, quiet = slab_of(), {"dark_rate_cps": 0.0, "dead_time_ns": 0.0}
    s = rich((0.0, 0.0, 4.5, 0.5), sector=quiet)
    surface = Surface.fresh(slab, s)
    scan = scan_of(Raster((24, 24), 0.1, 1000.0), 65000.0)
    counts = ions.raster_frame(slab, surface, scan, analyser_for(LITHIUM), settings=s, rng=np.random.default_rng(0))
    atoms = surface.removed_um3 @ [atoms_per_um3(m) for m in Material]
    share = 0.0759 + (0.5 - 0.0759) * 0.5 / 44.5
    assert counts[0].sum() == pytest.approx(4e-3 * share * 0.25 * atoms, rel=0.02)
    assert 4 * counts[0].sum() < counts[1].sum()


@pytest.mark.parametrize(
    ("fov_um", "dwell_ms", "current_pa"),
    [
        (11.8, 0.55, 50.0),
        (11.8, 1.2, 50.0),
        (20.7, 0.55, 50.0),
        (20.7, 1.2, 50.0),
        (15.0, 0.2, 300.0),
        (40.0, 5.0, 50.0),
    ],
)
def test_erosion_at_several_fields_and_dwells(slab_of, fov_um, dwell_ms, current_pa):
    """Against dose x rate / area, worked out from charge and field alone; the paper's four pairs are among them."""
    slab = slab_of()
    surface = Surface.fresh(slab, BASE)
    part = Raster((64, 64), fov_um / 8, dwell_ms)  # an eighth of 512 x 512 pixels over the whole field
    ions.dose_field(slab, surface, scan_of(part, current_pa), seconds=part.frame_s, settings=BASE)
    charge_nc = 512 * 512 * dwell_ms * 1e-3 * current_pa * 1e-3
    depth_nm = 1e3 * (4.5 - surface.height_at([[0.0, 0.0]])[0])
    assert depth_nm == pytest.approx(1e3 * charge_nc * 0.146 / fov_um**2, rel=1e-3)
