import numpy as np
import pytest

from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings, SurfaceGrid
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.twin import ions, sem_signals
from xrm_sims.twin.surface import Surface

SETTINGS = Settings(surface=SurfaceGrid(width_um=12.0))
IDENTITY = np.eye(2, 3)
FIELD = Raster((64, 64), 4.0, 0.01)
EDS_FIELD = Raster((48, 48), 4.0, 10.0)


def se(specimen, surface, *, seed=0, source="electron", raster=FIELD, current_na=1.0):
    scan = ions.Scan(raster, IDENTITY, 1e3 * current_na)
    return sem_signals.se_image(
        specimen, surface, scan, source=source, settings=SETTINGS, rng=np.random.default_rng(seed)
    )


def eds(specimen, surface, elements=("Ni", "Co", "C", "O", "Al"), *, seed=0, voltage_kv=15.0, current_na=1.0):
    return sem_signals.eds_map(
        specimen,
        surface,
        ions.Scan(EDS_FIELD, IDENTITY, 1e3 * current_na),
        voltage_kv=voltage_kv,
        elements=elements,
        settings=SETTINGS,
        rng=np.random.default_rng(seed),
    )


def mean_se(slab):
    return se(slab, Surface.fresh(slab, SETTINGS)).mean()


def test_binder_is_darker_and_active_materials_look_alike(slab_of):
    lco, nca, binder = (mean_se(slab_of(m)) for m in (Material.LCO, Material.NCA, Material.BINDER))
    assert binder < 0.7 * lco
    assert nca == pytest.approx(lco, rel=0.1)


def test_shot_noise_is_poisson(slab_of):
    slab = slab_of(Material.BINDER)  # no crystals
    image = se(slab, Surface.fresh(slab, SETTINGS)).astype(float)
    assert image.var() / image.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2 / image.size))


def test_pillar_stands_out_round_against_dark_surroundings():
    pillar = CathodePillar(seed=3)
    surface = Surface.fresh(pillar, Settings(surface=SurfaceGrid(pitch_um=0.1)))
    raster = Raster((256, 256), 50.0, 0.01)
    image = se(pillar, surface, raster=raster)
    radius = np.hypot(*ions.pixel_points(ions.Scan(raster, IDENTITY, 1e3)).transpose(2, 0, 1))
    inside, outside = np.median(image[radius < 19]), np.median(image[radius > 22])
    assert outside < 0.1 * inside
    bright = image > 0.5 * (inside + outside)
    row, column = np.nonzero(bright)
    assert (row.mean(), column.mean()) == pytest.approx((127.5, 127.5), abs=10)
    assert bright[radius > 20.5].mean() < 1e-3


@pytest.mark.parametrize("material", [Material.NCA, Material.LCO])
def test_crystals_differ_within_a_tenth(slab_of, material):
    slab = slab_of(material)  # crystals are stripes of one micrometre along x
    image = se(slab, Surface.fresh(slab, SETTINGS), current_na=100.0)
    stripes = image.reshape(64, 4, 16)[:, :, 2:-2].mean(axis=(0, 2))
    assert np.ptp(stripes) / stripes.mean() > 0.01
    assert np.ptp(stripes) / stripes.mean() < 0.21
    flat = se(soft := slab_of(Material.BINDER), Surface.fresh(soft, SETTINGS), current_na=100.0)
    assert np.ptp(flat.reshape(64, 4, 16).mean(axis=(0, 2))) / flat.mean() < 0.01


def test_walls_of_a_pit_are_bright_and_a_deep_hole_is_dark(slab_of):
    slab = slab_of(spheres=[(0.0, 0.0, 2.5, 2.03, Material.VACUUM)])  # a bottle with a narrow neck
    surface = Surface.fresh(slab, SETTINGS)
    surface.cut_plane(slab, IDENTITY, Rectangle((0.5, 0.5), 0.2, (1.5, 1.5)), 4.3, SETTINGS)
    image = se(slab, surface, raster=Raster((128, 128), 4.5, 0.01), current_na=20.0)
    flat = np.median(image)
    assert image[60:68, 60:68].mean() < 0.4 * flat
    assert image.max() > 1.5 * flat


def test_ion_image_erodes_and_electron_image_does_not(slab_of):
    slab = slab_of()
    surface = Surface.fresh(slab, SETTINGS)
    se(slab, surface)
    assert surface.removed_um3.sum() == 0
    image = se(slab, surface, source="ion", current_na=0.05)
    assert image.mean() > 10
    assert surface.removed_um3[Material.LCO] == pytest.approx(0.05 * FIELD.frame_s * 0.146, rel=0.05)


def test_refused_images(slab_of):
    slab = slab_of()
    surface = Surface.fresh(slab, SETTINGS)
    with pytest.raises(ValueError, match="source"):
        se(slab, surface, source="neutron")
    with pytest.raises(ValueError, match="current_pa"):
        se(slab, surface, current_na=-1.0)


def test_eds_tells_lco_from_nca_by_nickel_and_cobalt(slab_of):
    lco, nca, binder = (
        dict(zip(("Ni", "Co", "C", "O", "Al"), eds(s, Surface.fresh(s, SETTINGS)).mean(axis=(1, 2)), strict=True))
        for s in (slab_of(m) for m in (Material.LCO, Material.NCA, Material.BINDER))
    )
    assert nca["Ni"] > 10 * lco["Ni"]
    assert lco["Co"] > 3 * nca["Co"]
    assert nca["Al"] > 2 * lco["Al"]
    assert binder["C"] > 10 * max(lco["C"], nca["C"])
    assert lco["O"] > 10 * binder["O"]


def test_eds_blurs_by_the_electron_range(slab_of):
    ball = slab_of(Material.BINDER, spheres=[(0.0, 0.0, 4.5, 1.0, Material.LCO)])
    surface = Surface.fresh(ball, SETTINGS)
    widths = []
    for voltage_kv in (10.0, 25.0):
        cobalt = eds(ball, surface, ("Co",), voltage_kv=voltage_kv, current_na=20.0)[0].astype(float)
        cobalt -= np.percentile(cobalt, 5)
        x = np.arange(48) - 23.5
        profile = cobalt.sum(axis=0).clip(0)
        widths.append(np.sqrt(np.average(x**2, weights=profile)))
    assert widths[1] > 1.1 * widths[0]


def test_kanaya_okayama_range_of_the_textbook():
    # carbon at 20 keV: 0.0276 * 12.011 * 20^1.67 / (6^0.889 * 1.8) = 5.6 um
    assert sem_signals.electron_range_um(Material.CARBON, 20.0, SETTINGS) == pytest.approx(5.57, rel=0.02)


@pytest.mark.parametrize(
    ("elements", "voltage_kv", "reason"),
    [
        (("Ni", "Li"), 15.0, "Li cannot be mapped by EDS, it has no characteristic line"),
        (("Xx",), 15.0, "not an element"),
        (("Al",), 1.5, "excites no line of Al"),
        (("Ni",), 0.9, "excites no line of Ni"),
    ],
)
def test_eds_refuses_what_physics_refuses(slab_of, elements, voltage_kv, reason):
    slab = slab_of()
    with pytest.raises(ValueError, match=reason):
        eds(slab, Surface.fresh(slab, SETTINGS), elements, voltage_kv=voltage_kv)


def test_low_voltage_uses_the_l_line():
    assert sem_signals.line_intensity("Ni", 5.0, SETTINGS) > 0


def test_same_seed_same_images(slab_of):
    slab = slab_of(Material.NCA)
    surface = Surface.fresh(slab, SETTINGS)
    assert (se(slab, surface, seed=1) == se(slab, surface, seed=1)).all()
    assert (eds(slab, surface, seed=1) == eds(slab, surface, seed=1)).all()
    assert (se(slab, surface, seed=1) != se(slab, surface, seed=2)).any()
