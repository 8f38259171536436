import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.ions import Scan, dose_field
from xrm_sims.twin.milling import dose_spot, mill_pass
from xrm_sims.twin.sputtering import removal_rates
from xrm_sims.twin.surface import Surface

# a slope takes no more than a flat place: dose and volume then compare exactly
UPRIGHT = Settings().sputtering.model_copy(update={"tilt_power": 0.0})
COARSE = Settings(surface=Settings().surface.model_copy(update={"pitch_um": 0.1}))
IDENTITY = np.eye(2, 3)
TURNED = np.array([[0.98, -0.05, 1.5], [0.06, 1.01, -2.0]])


@pytest.fixture(scope="module")
def pillar():
    return CathodePillar(seed=4)


def mill(specimen, surface, *, affine=IDENTITY, settings=COARSE, fraction=1.0, current_pa=1000.0, **box):
    pattern = Rectangle(**({"size_um": (10.0, 10.0), "depth_um": 1.0, "passes": 1} | box))
    return pattern, mill_pass(
        specimen,
        surface,
        scan_to_specimen=affine,
        pattern=pattern,
        current_pa=current_pa,
        fraction=fraction,
        settings=settings,
    )


def test_fresh_surface_is_the_top_of_the_cylinder(slab_of):
    surface = Surface.fresh(slab_of(), COARSE)
    assert (surface.height_at([[0.0, 0.0], [15.0, -10.0]]) == 4.5).all()
    assert (surface.height_at([[21.0, 0.0]]) == -40.0).all()  # nothing beside the slab: its foot
    assert surface.removed_um3.sum() == 0


def test_fresh_surface_has_fallen_through_an_open_void(slab_of):
    surface = Surface.fresh(slab_of(spheres=[(3.0, 0.0, 4.0, 1.0, Material.VACUUM)]), COARSE)
    bottom = surface.height_at([[3.05, 0.05]])[0]
    assert bottom == pytest.approx(4.0 - np.sqrt(1 - 2 * 0.05**2), abs=1e-4)


def test_pillar_surface_is_exposed_solid_under_free_space(pillar):
    surface = Surface.fresh(pillar, COARSE)
    xy = np.random.default_rng(0).uniform(-19, 19, (2000, 2))
    view = surface.look(pillar, xy[np.hypot(*xy.T) < 19])
    assert (view.codes != Material.VACUUM).all()
    assert (view.points_um[:, 2] <= pillar.settings.top_um).all()
    assert np.median(view.points_um[:, 2]) == pytest.approx(pillar.settings.top_um, abs=0.01)


@pytest.mark.parametrize("material", [Material.LCO, Material.NCA, Material.NCA_BOUNDARY, Material.BINDER])
def test_milled_depth_follows_the_material_and_not_the_wish(slab_of, material):
    slab = slab_of(material)
    surface = Surface.fresh(slab, COARSE)
    pattern, pass_ = mill(slab, surface)
    s = COARSE.sputtering
    depth_um = 1.0 * removal_rates(COARSE)[material] / s.rate_lco_um3_per_nc
    assert 4.5 - pass_["plane_z_um"] == pytest.approx(depth_um, rel=1e-3)
    assert pass_["dose_nc"] == pytest.approx(pattern.dose_nc(s.rate_lco_um3_per_nc))
    assert pass_["seconds"] == pytest.approx(pass_["dose_nc"])  # 1 nA
    assert pass_["removed_um3"] == pytest.approx(100 * depth_um, rel=0.02)  # the map's cells tile the box to 1 %


def test_passes_add_up_to_the_wished_depth_in_lco(slab_of):
    slab = slab_of()
    surface = Surface.fresh(slab, COARSE)
    planes = [mill(slab, surface, passes=4, affine=TURNED)[1]["plane_z_um"] for _ in range(4)]
    stretched = np.linalg.det(TURNED[:, :2])  # the same dose on a larger or smaller box
    assert np.diff([4.5, *planes]) == pytest.approx([-0.25 / stretched] * 4, rel=1e-3)


def test_milling_touches_only_the_mapped_box_and_stays(slab_of):
    slab = slab_of()
    surface = Surface.fresh(slab, COARSE)
    before = surface.heights_um.copy()
    sharp = COARSE.model_copy(
        update={"ion": COARSE.ion.model_copy(update={"core_fwhm_nm": 1e-3, "tail_fraction": 0.0})}
    )
    _, pass_ = mill(slab, surface, affine=TURNED, settings=sharp, size_um=(6.0, 3.0))
    n, pitch = len(before), surface.pitch_um
    grid = (np.arange(n) - 0.5 * (n - 1)) * pitch
    x, y = np.meshgrid(grid, grid)
    u, v = np.linalg.solve(TURNED[:, :2], np.stack([x.ravel() - TURNED[0, 2], y.ravel() - TURNED[1, 2]]))
    inside = ((np.abs(u) <= 3.0) & (np.abs(v) <= 1.5)).reshape(x.shape)
    assert (surface.heights_um[~inside] == before[~inside]).all()
    assert surface.heights_um[inside] == pytest.approx(pass_["plane_z_um"], abs=1e-5)
    cut = surface.heights_um.copy()
    assert surface.cut_plane(slab, TURNED, Rectangle((6.0, 3.0), 1.0), 4.5, COARSE).sum() == 0
    assert (surface.heights_um == cut).all()


def test_cut_opens_a_buried_void_and_falls_to_its_bottom(slab_of):
    slab = slab_of(spheres=[(0.0, 0.0, 3.0, 0.8, Material.VACUUM)])
    surface = Surface.fresh(slab, COARSE)
    assert surface.height_at([[0.05, 0.05]]) == 4.5
    removed = surface.cut_plane(slab, IDENTITY, Rectangle((4.0, 4.0), 1.0), 3.0, COARSE)
    assert surface.height_at([[0.05, 0.05]])[0] == pytest.approx(3.0 - np.sqrt(0.64 - 0.005), abs=1e-4)
    assert surface.height_at([[1.5, 1.5]])[0] == pytest.approx(3.0)
    half_ball = 2 / 3 * np.pi * 0.8**3
    assert removed[Material.LCO] == pytest.approx(16 * 1.5 - half_ball, rel=0.01)


def test_milling_porous_ground_goes_deeper(slab_of):
    holes = [(x, y, 4.0, 0.45, Material.VACUUM) for x in np.arange(-4.5, 5) for y in np.arange(-4.5, 5)]
    dense, porous = slab_of(), slab_of(spheres=holes)
    planes = [mill(s, Surface.fresh(s, COARSE))[1]["plane_z_um"] for s in (dense, porous)]
    solid = 100 * (4.5 - planes[1]) - len(holes) * 4 / 3 * np.pi * 0.45**3
    assert planes[1] < planes[0]
    assert solid == pytest.approx(100.0, rel=0.01)


def test_dose_is_conserved_on_the_pillar(pillar):
    surface = Surface.fresh(pillar, COARSE)
    rates = removal_rates(COARSE)
    _, pass_ = mill(pillar, surface, depth_um=2.0)
    spent_nc = (surface.removed_um3[1:] / rates[1:]).sum()
    assert spent_nc == pytest.approx(pass_["dose_nc"], rel=0.02)  # sampled on 96 x 96 columns, cut on cells of 0.1 um
    assert pass_["removed_um3"] == pytest.approx(surface.removed_um3.sum())
    assert (surface.removed_um3 >= 0).all()
    before = surface.removed_um3.copy()
    raster = Raster((128, 128), 8.0, 0.55)
    dose_nc = dose_field(
        pillar,
        surface,
        Scan(raster, IDENTITY, 50.0),
        seconds=raster.frame_s,
        settings=COARSE.model_copy(update={"sputtering": UPRIGHT}),
    )
    assert ((surface.removed_um3 - before)[1:] / rates[1:]).sum() == pytest.approx(dose_nc, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(dose_nc=st.floats(1e-3, 500.0), x=st.floats(-8.0, 8.0), y=st.floats(-8.0, 8.0))
def test_surfaces_only_sink(slab_of, dose_nc, x, y):
    slab = slab_of(spheres=[(0.0, 0.0, 2.0, 1.5, Material.VACUUM), (4.0, 1.0, 3.0, 1.2, Material.BINDER)])
    surface = Surface.fresh(slab, COARSE)
    before = surface.heights_um.copy()
    removed = surface.erode(slab, IDENTITY, Rectangle((3.0, 3.0), 1.0, (x, y)), dose_nc, COARSE)
    assert (surface.heights_um <= before).all()
    assert (removed >= 0).all()


def test_spot_digs_a_hole_of_its_dose_under_the_beam(slab_of):
    settings = Settings()
    slab = slab_of()
    surface = Surface.fresh(slab, settings)
    dose_nc = dose_spot(slab, surface, xy_um=(2.0, -3.0), current_pa=50.0, seconds=1.0, settings=settings)
    assert dose_nc == pytest.approx(0.05)
    assert surface.removed_um3[Material.LCO] == pytest.approx(0.05 * 0.146, rel=0.05)
    assert surface.height_at([[2.0, -3.0]]) < 4.0
    assert surface.height_at([[3.0, -3.0]]) == 4.5


def test_arrays_bring_the_surface_back(slab_of, tmp_path):
    slab = slab_of()
    surface = Surface.fresh(slab, COARSE)
    mill(slab, surface)
    np.savez(tmp_path / "surface.npz", **surface.arrays())
    with np.load(tmp_path / "surface.npz") as stored:
        again = Surface.from_arrays(stored)
    assert (again.heights_um == surface.heights_um).all()
    assert (again.eroded_um == surface.eroded_um).all()
    assert surface.eroded_um.max() == pytest.approx(1.0, rel=0.01)  # milled a micrometre deep
    assert (again.removed_um3 == surface.removed_um3).all()
    view, view_again = (s.look(slab, np.array([[0.0, 4.99], [7.0, 7.0]])) for s in (surface, again))
    assert all((a == b).all() for a, b in zip(view, view_again, strict=True))


def test_flat_ground_sees_the_whole_sky_and_a_deep_hole_little(slab_of):
    settings = Settings()
    slab = slab_of(spheres=[(0.0, 0.0, 4.5, 0.5, Material.VACUUM), (5.0, 0.0, 2.5, 2.05, Material.VACUUM)])
    surface = Surface.fresh(slab, settings)
    view = surface.look(slab, np.repeat([[-8.0, 0.0], [0.0, 0.0], [5.0, 0.0]], 100, axis=0))
    sky = view.sky.reshape(3, 100)
    assert (sky[0] == 1.0).all()
    assert view.cos_tilt[0] == 1.0
    # the bottom of a hemisphere sees half of it, and a wall is looked for at distances 1.6 apart
    assert sky[1].mean() == pytest.approx(0.5, abs=0.12)
    assert sky[2].max() < 0.1  # bottle of 4 um with a neck of 0.9 um


@pytest.mark.parametrize(
    ("kwargs", "named"), [({"current_pa": 0.0}, "current_pa"), ({"fraction": 1.5}, "fraction"), ({"fraction": 0}, "fr")]
)
def test_refused_passes(slab_of, kwargs, named):
    slab = slab_of()
    surface = Surface.fresh(slab, COARSE)
    with pytest.raises(ValueError, match=named):
        mill(slab, surface, **kwargs)
    assert surface.removed_um3.sum() == 0


def test_refused_arrays(slab_of):
    arrays = Surface.fresh(slab_of(), COARSE).arrays()
    with pytest.raises(ValueError, match="heights_um"):
        Surface.from_arrays(arrays | {"heights_um": np.zeros((3, 4))})
    with pytest.raises(ValueError, match="removed_um3"):
        Surface.from_arrays(arrays | {"removed_um3": np.zeros(2)})
