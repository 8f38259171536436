import numba
import numpy as np
import pytest

from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Sector, Settings, SurfaceGrid
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material, atoms_per_um3
from xrm_sims.twin import ions, sector
from xrm_sims.twin.milling import mill_pass
from xrm_sims.twin.surface import Surface

SETTINGS = Settings(surface=SurfaceGrid(width_um=12.0))
CLEAN = SETTINGS.model_copy(update={"sputtering": SETTINGS.sputtering.model_copy(update={"redeposited_fraction": 0.0})})
NO_HYDROCARBON = SETTINGS.model_copy(update={"sector": Sector(hydrocarbon_on_al=False)})
IDENTITY = np.eye(2, 3)
CHANNELS = SETTINGS.sector.channels
# counts per pixel and frame at 50 pA for dwell times of 0.55 and 1.20 ms; 0 stands for less than one count
TABLE = {
    Material.LCO: [(460, 1003), (0, 0), (0, 0), (7.9, 17)],
    Material.NCA: [(454, 990), (9.1, 20), (6.3, 14), (1.2, 2.5)],
    Material.NCA_BOUNDARY: [(454, 990), (46, 100), (5.0, 11), (0.9, 2.0)],
    Material.BINDER: [(0, 0), (2.0, 4.5), (0, 0), (0, 0)],
}


def frame(specimen, surface, *, seed=0, settings=SETTINGS, channels=CHANNELS, **changes):
    of_analyser = {
        "bias_v": settings.sector.bias_v,
        "extraction_v": settings.sector.extraction_v,
        "field_t": settings.sector.field_t,
        "collector_radii_mm": sector.collector_radii(channels, settings),
    }
    analyser = ions.Analyser(**{name: changes.pop(name, value) for name, value in of_analyser.items()})
    of_scan = {"raster": Raster((128, 128), 128 * 11.8 / 512, 0.55), "to_specimen": IDENTITY, "current_pa": 50.0}
    scan = ions.Scan(**(of_scan | changes))
    return ions.raster_frame(specimen, surface, scan, analyser, settings=settings, rng=np.random.default_rng(seed))


def settled(specimen, settings=SETTINGS):
    """An unmilled surface with steady-state gallium."""
    surface = Surface.fresh(specimen, settings)
    surface.eroded_um[:] = 1.0
    return surface


def points_of(raster):
    return ions.pixel_points(ions.Scan(raster, IDENTITY, 50.0))


@pytest.fixture(scope="module")
def pillar():
    return CathodePillar(seed=2)


@pytest.mark.parametrize("dwell_index", [0, 1])
@pytest.mark.parametrize("material", TABLE)
def test_counts_per_pixel_on_uniform_ground(slab_of, material, dwell_index):
    slab = slab_of(material, aluminium=0.005)
    raster = Raster((128, 128), 3.0, (0.55, 1.20)[dwell_index])
    counts = frame(slab, settled(slab), settings=NO_HYDROCARBON, raster=raster)
    for channel, wanted in zip(counts, TABLE[material], strict=True):
        if wanted[dwell_index]:
            assert channel.mean() == pytest.approx(wanted[dwell_index], rel=0.2)
        else:
            assert channel.mean() < 0.1


def test_counts_per_pixel_on_the_pillar(pillar):
    surface = settled(pillar)
    raster = Raster((256, 256), 10.0, 0.55)
    view = surface.look(pillar, points_of(raster).reshape(-1, 2))
    counts = frame(pillar, surface, raster=raster).reshape(4, -1)
    for material in (Material.LCO, Material.NCA):
        flat = (view.codes == material) & (view.sky > 0.999)
        assert flat.sum() > 3000
        for channel, (wanted, _) in zip(counts[:, flat], TABLE[material], strict=True):
            assert channel.mean() == pytest.approx(wanted, rel=0.2, abs=0.05)


def test_counts_are_poisson(slab_of):
    slab = slab_of()
    counts = frame(slab, Surface.fresh(slab, SETTINGS))[0].astype(float)
    # variance over mean of n Poisson numbers scatters by sqrt(2 / n)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2 / counts.size))


@pytest.mark.parametrize(
    ("fov_um", "dwell_ms", "erosion_nm"), [(11.8, 0.55, 7.5), (11.8, 1.2, 16.5), (20.7, 0.55, 2.45), (20.7, 1.2, 5.35)]
)
def test_erosion_of_lco_per_frame(slab_of, fov_um, dwell_ms, erosion_nm):
    slab = slab_of()
    surface = Surface.fresh(slab, SETTINGS)
    raster = Raster((64, 64), fov_um / 8, dwell_ms)  # the same dose per area as 512 x 512 over the whole field
    frame(slab, surface, raster=raster)
    assert 1e3 * (4.5 - surface.height_at([[0.0, 0.0]])[0]) == pytest.approx(erosion_nm, rel=0.1)
    assert raster.erosion_nm(50.0, 0.146) == pytest.approx(1e3 * (4.5 - surface.height_at([[0.0, 0.0]])[0]), rel=1e-3)


def test_counted_atoms_are_fewer_than_removed_atoms(pillar):
    surface = Surface.fresh(pillar, SETTINGS)
    raster = Raster((128, 128), 10.0, 0.55)
    for seed in range(3):
        before = surface.removed_um3.copy()
        counted = frame(pillar, surface, raster=raster, seed=seed, channels=("6Li", "7Li", "27Al", "59Co")).sum()
        removed = surface.removed_um3 - before
        atoms = sum(removed[m] * atoms_per_um3(m) for m in Material)
        assert 0 < counted < 4e-3 * atoms  # no element's useful yield is above lithium's


def test_lithium_isotopes_stand_in_their_ratio(slab_of):
    slab = slab_of()
    light, heavy = frame(slab, Surface.fresh(slab, SETTINGS), channels=("6Li", "7Li")).astype(float)
    n_light, n_heavy = light.sum(), heavy.sum()
    dead = 1 - heavy.mean() / 0.55e-3 * 25e-9  # 7Li loses 2 % in the counter, 6Li a twelfth of that
    ratio = n_light / n_heavy * dead
    assert ratio == pytest.approx(0.0821, abs=5 * ratio * np.sqrt(1 / n_light + 1 / n_heavy) + 0.0821 * 0.002)


def test_hydrocarbon_makes_the_binder_look_aluminium_bearing(slab_of):
    slab = slab_of(Material.BINDER, aluminium=0.0)
    on, off = (frame(slab, settled(slab, s), settings=s)[1].mean() for s in (SETTINGS, NO_HYDROCARBON))
    assert on - off == pytest.approx(1 / 3, abs=0.05)
    assert off < 0.01


def test_a_collector_between_masses_counts_only_darkness(slab_of):
    slab = slab_of(Material.NCA)
    nickel, cobalt = sector.collector_radii(("58Ni", "59Co"), SETTINGS)
    counts = frame(slab, Surface.fresh(slab, SETTINGS), collector_radii_mm=[0.5 * (nickel + cobalt)])
    expected = counts.size * SETTINGS.sector.dark_rate_cps * 0.55e-3
    assert abs(counts.sum() - expected) < 5 * np.sqrt(expected)


def test_without_stage_bias_there_is_only_darkness_but_the_surface_goes(slab_of):
    slab = slab_of()
    surface = Surface.fresh(slab, SETTINGS)
    at_zero = [sector.radius_for(sector.ISOTOPES[c].mass_u, 2500.0, 0.5) for c in CHANNELS]  # recalibrated all the same
    counts = frame(slab, surface, bias_v=0.0, collector_radii_mm=at_zero)
    assert counts.mean() < 0.01
    assert surface.height_at([[0.0, 0.0]])[0] < 4.5


def test_changed_bias_moves_the_masses_out_of_their_slits(slab_of):
    slab = slab_of()
    assert frame(slab, Surface.fresh(slab, SETTINGS), bias_v=450.0)[0].mean() < 1.0


def test_no_current_no_ions(slab_of):
    slab = slab_of()
    surface = Surface.fresh(slab, SETTINGS)
    assert frame(slab, surface, current_pa=0.0).mean() < 0.01
    assert surface.removed_um3.sum() == 0
    with pytest.raises(ValueError, match="current_pa"):
        frame(slab, surface, current_pa=-1.0)


def test_dead_time_bends_the_count_rate(slab_of):
    slab = slab_of()
    low, high = (frame(slab, settled(slab), current_pa=i)[0].mean() for i in (5.0, 5000.0))
    true_cps = 100 * 460.0 / 0.55e-3
    assert low * 1000 > high
    assert high / 0.55e-3 == pytest.approx(true_cps / (1 + true_cps * 25e-9), rel=0.02)


def test_image_axes_follow_the_scan_frame(slab_of):
    ball = slab_of(Material.BINDER, spheres=[(3.0, -1.0, 4.5, 0.6, Material.LCO)])
    affine = np.array([[0.0, -1.0, 3.5], [1.0, 0.0, -0.5]])  # u along y, v along -x
    raster = Raster((80, 160), 6.4, 0.55, centre_um=(0.2, -0.1))
    lithium = frame(ball, Surface.fresh(ball, SETTINGS), raster=raster, to_specimen=affine)[0].astype(float)
    r, c = (np.average(i, weights=lithium) for i in np.indices(lithium.shape))
    v, u = (r - 39.5) * 0.04 - 0.1, (c - 79.5) * 0.04 + 0.2
    # scan (u, v) = (-0.5, 0.5) maps to (3.0, -1.0); the floor of dark counts pulls the centroid by a few nanometres
    assert (u, v) == pytest.approx((-0.5, 0.5), abs=0.02)


def test_drift_shears_the_frame(slab_of):
    ball = slab_of(Material.BINDER, spheres=[(0.0, 1.0, 4.5, 0.4, Material.LCO)])
    raster = Raster((128, 128), 4.0, 0.55)
    columns = []
    for drift in (0.0, 0.05):
        surface = Surface.fresh(ball, SETTINGS)
        lithium = frame(ball, surface, raster=raster, drift_um_per_s=(drift, 0.0))[0].astype(float)
        columns.append(np.average(np.arange(128), weights=lithium.sum(axis=0)))
    seconds = (1.0 / 4.0 + 0.5) * raster.frame_s  # when the scan reaches y = 1
    assert columns[0] - columns[1] == pytest.approx(0.05 * seconds / raster.pixel_um, abs=0.5)


def test_beam_tail_reaches_into_binder_but_not_a_micrometre(slab_of):
    ball = slab_of(Material.BINDER, spheres=[(0.0, 0.0, 4.5, 1.0, Material.LCO)])
    raster = Raster((256, 256), 6.0, 0.55)
    lithium = frame(ball, Surface.fresh(ball, CLEAN), raster=raster, settings=CLEAN)[0]
    radius = np.hypot(*(points_of(raster).transpose(2, 0, 1)))
    assert lithium[(radius > 1.1) & (radius < 1.2)].mean() > 0.5
    assert lithium[radius > 2.0].mean() < 0.02


def test_a_pore_is_dark_and_a_mill_stays_visible(slab_of):
    pore = slab_of(spheres=[(0.0, 0.0, 3.0, 0.3, Material.VACUUM)])
    surface = settled(pore)
    raster = Raster((64, 64), 2.0, 0.55)
    radius = np.hypot(*(points_of(raster).transpose(2, 0, 1)))
    closed = frame(pore, surface, raster=raster)[0]
    surface.cut_plane(pore, IDENTITY, Rectangle((8.0, 8.0), 1.0), 3.1, SETTINGS)
    opened = frame(pore, surface, raster=raster)[0]
    assert opened[radius < 0.15].mean() < 0.6 * closed[radius < 0.15].mean()
    assert opened[radius > 0.6].mean() == pytest.approx(closed[radius > 0.6].mean(), rel=0.02)


def test_same_seed_same_counts(pillar):
    kwargs = {"raster": Raster((64, 64), 5.0, 0.55)}
    one, two, other = (frame(pillar, Surface.fresh(pillar, SETTINGS), seed=s, **kwargs) for s in (5, 5, 6))
    assert one.dtype == np.uint32
    assert one.shape == (4, 64, 64)
    assert (one == two).all()
    assert (one != other).any()


def test_same_counts_whatever_the_number_of_threads(pillar):
    def take():
        return frame(pillar, Surface.fresh(pillar, SETTINGS), raster=Raster((64, 64), 5.0, 0.55))

    threads = numba.get_num_threads()
    together = take()
    try:
        numba.set_num_threads(1)
        alone = take()
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(together, alone)


def test_useful_yields_follow_the_ionisation_energies():
    yields = [ions.useful_yield(element, SETTINGS) for element in ("Li", "Al", "Ni", "Co")]
    assert yields == pytest.approx([4.0e-3, 1.5e-3, 9.4e-5, 6.3e-5], rel=0.02)


def test_milling_with_the_same_beam_exposes_what_sims_then_sees(pillar):
    surface = Surface.fresh(pillar, SETTINGS)
    milled = mill_pass(
        pillar,
        surface,
        scan_to_specimen=IDENTITY,
        pattern=Rectangle((6.0, 6.0), 1.5, passes=1),
        current_pa=1000.0,
        fraction=1.0,
        settings=SETTINGS,
    )
    raster = Raster((64, 64), 4.0, 0.55)
    xy = points_of(raster).reshape(-1, 2)
    at_plane = pillar.material_at(np.column_stack([xy, np.full(len(xy), milled["plane_z_um"] - 0.004)]))
    lithium = frame(pillar, surface, raster=raster)[0].ravel()
    active = np.isin(at_plane, (Material.LCO, Material.NCA, Material.NCA_BOUNDARY))
    assert lithium[active].mean() == pytest.approx(450, rel=0.1)
    assert lithium[active].mean() > 1.5 * lithium[~active].mean()


def test_grain_boundaries_of_nca_stand_out_in_aluminium(pillar):
    settings = Settings(surface=SurfaceGrid(width_um=40.0), sector=NO_HYDROCARBON.sector)
    surface = Surface.fresh(pillar, settings)
    nca = pillar.particles[pillar.particles["phase"] == Material.NCA]["centre_um"]
    x, y, z = nca[np.argmax(nca[:, 2] - 0.5 * np.hypot(nca[:, 0], nca[:, 1]))]  # near the top and the axis
    surface.cut_plane(pillar, IDENTITY, Rectangle((8.0, 8.0), 1.0, (x, y)), z, settings)
    raster = Raster((256, 256), 5.0, 0.55, centre_um=(x, y))
    view = surface.look(pillar, points_of(raster).reshape(-1, 2))
    aluminium = frame(pillar, surface, raster=raster, settings=settings)[1].ravel()
    grain, boundary = (view.codes == m for m in (Material.NCA, Material.NCA_BOUNDARY))
    assert boundary.sum() > 100
    # 20 to 40 nm wide, met by a beam of 20 nm on pixels of as much: above the grains, below the 46 of an open plane
    assert 2 * aluminium[grain].mean() < aluminium[boundary].mean() < 46
