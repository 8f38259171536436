import numba
import numpy as np
import pytest

from xrm_sims.geometry import rotation_z
from xrm_sims.settings import Settings, Source, XrayGeometry
from xrm_sims.specimen import CathodePillar, Material, attenuation_per_um, tracing
from xrm_sims.twin.spectrum import detection_efficiency, pixel_rate
from xrm_sims.twin.xray import XrayModel

SETTINGS = Settings()
POINT = Settings(source=Source(spot_core_sigma_nm=1e-3, spot_tail_sigma_nm=1e-3))  # no blur


@pytest.fixture(scope="module")
def pillar():
    return CathodePillar(1)


@pytest.fixture(scope="module")
def model(pillar):
    return XrayModel(pillar, SETTINGS)


@pytest.fixture(scope="module")
def sharp(pillar):
    return XrayModel(pillar, POINT)


def _single_ray(pillar, row, column, *, angle_deg, specimen_um, source_um):
    """Return the counts in 90 s of a single ray to one full-format pixel."""
    pixel = np.array([439_600.0, (column - 639.5) * 55.0, (row - 127.5) * 55.0])
    direction = pixel - source_um
    distance = np.linalg.norm(direction)
    turn = rotation_z(-angle_deg)
    lengths = tracing.ray_path_lengths(
        pillar.solids, turn @ (source_um - specimen_um), turn @ direction / distance, len(Material)
    )
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    detected = 90 * rate * detection_efficiency(energies, SETTINGS.detector, 4.0)
    exponent = sum(length * attenuation_per_um(m, energies) for m, length in zip(Material, lengths, strict=True))
    return (detected * np.exp(-exponent)).sum() * 440_000.0**2 * direction[0] / distance**3


def test_each_pixel_is_its_own_ray(pillar, sharp):
    """Cone beam, rotation counter-clockwise, columns along +y, rows along +z, everything displaced."""
    where = {
        "angle_deg": 37.0,
        "specimen_um": np.array([0.3, -0.5, 0.2]),
        "source_um": np.array([-400.5, 0.4, -0.3]),
    }
    image = sharp.expected_counts(**where)
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, 256, 60), rng.integers(0, 1280, 60), strict=True):
        assert image[row, column] == pytest.approx(_single_ray(pillar, row, column, **where), rel=1e-4)


def test_beer_lambert_through_the_homogeneous_part(sharp):
    """The stage raised by 100 um: a plain cylinder of known chord."""
    image = sharp.expected_counts(angle_deg=0.0, specimen_um=(0, 0, 100.0))
    y_um = (np.arange(1280) - 639.5) * 0.05
    slope = y_um / 400.0
    nearest = 400.0 * slope / np.sqrt(1 + slope**2)  # distance of the ray from the axis
    chord = 2 * np.sqrt(np.clip(400.0 - nearest**2, 0, None))
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    detected = 90 * rate * detection_efficiency(energies, SETTINGS.detector, 4.0)
    mu = attenuation_per_um(Material.PILLAR_AVERAGE, energies)
    expected = np.exp(-np.outer(chord, mu)) @ detected / (1 + slope**2) ** 1.5
    row = image[127]
    assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("material", [Material.LCO, Material.NCA, Material.BINDER, Material.STEEL])
def test_beer_lambert_through_slabs(slab_of, material):
    """Cylinders of one material, 2 and 20 um across, on the central ray: sum over energies of exp(-mu d)."""
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    detected = 90 * rate * detection_efficiency(energies, SETTINGS.detector, 4.0)
    mu = attenuation_per_um(material, energies)
    for thickness_um in (2.0, 20.0):
        slab = slab_of(material, radius_um=0.5 * thickness_um)
        slab.settings = SETTINGS.specimen
        image = XrayModel(slab, POINT).expected_counts(angle_deg=0.0)
        middle = image[127:129, 639:641].mean()
        assert middle == pytest.approx((detected * np.exp(-mu * thickness_um)).sum(), rel=1e-3)


def test_total_counts_are_the_integral_over_the_solid_angle(model):
    """Flux per solid angle times that of the whole detector, 4 arcsin(ab / sqrt((a² + d²)(b² + d²)))."""
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    per_steradian = (rate * detection_efficiency(energies, SETTINGS.detector, 4.0)).sum() * 440.0**2 / 0.055**2
    a, b, d = 640 * 0.055, 128 * 0.055, 440.0
    steradians = 4 * np.arcsin(a * b / np.sqrt((a**2 + d**2) * (b**2 + d**2)))
    flat = model.expected_counts(angle_deg=0.0, specimen_um=(0, 0, -SETTINGS.stage.flat_lowering_um))
    assert flat.sum(dtype=float) == pytest.approx(90 * per_steradian * steradians, rel=1e-4)


def test_open_beam_counts(model):
    flat = model.expected_counts(angle_deg=0.0, specimen_um=(0, 0, -SETTINGS.stage.flat_lowering_um))
    assert flat.dtype == np.float32
    assert flat.shape == (256, 1280)
    assert flat.mean() == pytest.approx(1453, rel=0.1)
    assert np.ptp(flat) / flat.mean() < 0.011  # only the larger distance of the outer pixels
    binned = model.expected_counts(angle_deg=0.0, specimen_um=(0, 0, -SETTINGS.stage.flat_lowering_um), binning=4)
    assert binned == pytest.approx(flat.reshape(64, 4, 320, 4).sum(axis=(1, 3)), rel=1e-4)


def test_counts_scale_with_current_and_exposure(model):
    one = model.expected_counts(angle_deg=5.0, binning=8, current_na=100.0, exposure_s=10.0)
    assert model.expected_counts(angle_deg=5.0, binning=8, current_na=400.0, exposure_s=90.0) == pytest.approx(
        36 * one, rel=1e-5
    )


def test_a_full_turn_changes_nothing(model):
    first = model.expected_counts(angle_deg=20.0, binning=4)
    assert model.expected_counts(angle_deg=380.0, binning=4) == pytest.approx(first, rel=1e-4)
    assert not np.allclose(model.expected_counts(angle_deg=21.0, binning=4), first, rtol=1e-2)


def test_same_image_whatever_the_number_of_threads(model):
    threads = numba.get_num_threads()
    image = model.expected_counts(angle_deg=11.0, binning=2)
    try:
        numba.set_num_threads(1)
        alone = model.expected_counts(angle_deg=11.0, binning=2)
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(image, alone)


def test_displacements_move_the_image_the_right_way(sharp):
    """The shadow of the homogeneous part moves by M with the stage, and by -(M - 1) with the source, along +y."""

    def centre(**where):
        missing = 1 - sharp.expected_counts(angle_deg=0.0, **where)[127] / 1450.0
        shadow = np.where(missing > 0.05, missing, 0)
        return (shadow * np.arange(1280)).sum() / shadow.sum()

    still = centre(specimen_um=(0, 0, 100))
    assert centre(specimen_um=(0, 1, 100)) - still == pytest.approx(20.0, abs=0.3)
    assert centre(specimen_um=(0, 0, 100), source_um=(-400, 1, 0)) - still == pytest.approx(-19.98, abs=0.3)


def test_rows_run_upwards(sharp):
    """The pillar's top at +4.5 um leaves only the upper rows open."""
    image = sharp.expected_counts(angle_deg=0.0)
    assert image[240].min() > 1350
    assert image[20].min() < 700


def test_blur_conserves_counts(model):
    for binning in (1, 4):
        image = np.zeros((256 // binning, 1280 // binning), np.float32)
        image[30, 150] = 1000.0
        blurred = model._blur(image, SETTINGS.source.focal_spot, binning)
        assert blurred.sum() == pytest.approx(1000.0, rel=1e-5)
        assert blurred.min() >= 0


@pytest.mark.parametrize("probe_nm", [20.0, 90.0, 700.0])
def test_blur_has_the_width_of_the_magnified_spot(model, probe_nm):
    """Penumbra s (M - 1): magnified variances of both Gaussians, with the probe's difference to 90 nm (FWHM), and the
    pixel's own (1/12)."""
    image = np.zeros((256, 1280), np.float32)
    image[128, 640] = 1.0
    blurred = model._blur(image, SETTINGS.source.focal_spot_of(probe_nm), 1)
    per_nm = 1099 / 55_000
    spot_nm2 = 0.26 * 60**2 + 0.74 * 259**2 + (probe_nm**2 - 90**2) / (8 * np.log(2))
    for axis, stretch in ((0, 1.0), (1, 1.2)):
        profile = blurred.sum(axis=axis)
        offset = np.arange(len(profile)) - len(profile) // 2
        assert (profile * offset**2).sum() == pytest.approx(stretch**2 * spot_nm2 * per_nm**2 + 1 / 12, rel=0.02)


def test_the_spot_of_the_usual_probe_is_the_one_in_the_settings():
    spot = SETTINGS.source.focal_spot
    assert spot["sigma_um"] == pytest.approx([0.060, 0.259])
    assert spot == SETTINGS.source.focal_spot_of(SETTINGS.electron.probe_nm)
    with pytest.raises(ValueError, match="probe_nm: needs a positive width, got 0"):
        SETTINGS.source.focal_spot_of(0.0)
    with pytest.raises(ValueError, match="cannot come from a probe of 90 nm, so its width at 80 nm is unknown"):
        POINT.source.focal_spot_of(80.0)


def test_a_displaced_source_moves_the_shadow_by_the_penumbra_formula_at_any_magnification(pillar):
    """s (M - 1) at the detector, for M = 1100 and M = 550."""
    for source_object_mm in (0.4, 0.8):
        geometry = XrayGeometry(source_object_mm=source_object_mm)
        model = XrayModel(pillar, POINT.model_copy(update={"xray": geometry}))
        profiles = []
        for y_um in (0.0, 1.0):
            image = model.expected_counts(
                angle_deg=0.0, specimen_um=(0, 0, 100.0), source_um=(-1e3 * source_object_mm, y_um, 0.0)
            )
            shadow = 1 - image[127] / image[127].max()
            profiles.append((shadow * np.arange(1280)).sum() / shadow.sum())
        magnification = 440.0 / source_object_mm
        assert profiles[1] - profiles[0] == pytest.approx(-(magnification - 1) / 55.0, abs=0.25)


def test_refraction_draws_a_fringe_along_edges_and_leaves_the_rest(pillar, model):
    """Bright outside, dark inside the pillar's edge; the total intensity is conserved."""
    settings = Settings(xray=XrayGeometry(edge_enhancement=True))
    place = {"angle_deg": 10.0, "specimen_um": (0, 0, 100.0)}
    plain, fringed = model.expected_counts(**place), XrayModel(pillar, settings).expected_counts(**place)
    ratio = fringed[127] / plain[127]
    edge = int(np.flatnonzero(plain[127] < 0.9 * plain[127].max())[0])
    assert ratio[edge - 20 : edge + 20].max() > 1.03
    assert ratio[edge - 20 : edge + 20].min() < 0.97
    assert ratio[edge + 100 : 640] == pytest.approx(1, abs=0.01)
    assert ratio[: edge - 100] == pytest.approx(1, abs=0.01)
    assert fringed[127].sum() == pytest.approx(plain[127].sum(), rel=0.005)


def test_more_rays_come_closer_to_the_full_format(pillar):
    full = XrayModel(pillar, SETTINGS).expected_counts(angle_deg=20.0).reshape(64, 4, 320, 4).sum(axis=(1, 3))
    errors = []
    for rays in (1, 2, 4):
        settings = Settings(xray=XrayGeometry(rays_per_pixel_edge=rays))
        image = XrayModel(pillar, settings).expected_counts(angle_deg=20.0, binning=4)
        errors.append(float((image / full - 1).std()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_impossible_calls_are_refused(model):
    with pytest.raises(ValueError, match="binning: needs a divisor"):
        model.expected_counts(angle_deg=0.0, binning=7)
    with pytest.raises(ValueError, match="inside or behind the specimen"):
        model.expected_counts(angle_deg=0.0, source_um=(-10.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="target: needs one of"):
        model.expected_counts(angle_deg=0.0, material="Mo")
    with pytest.raises(ValueError, match="threshold_kev: 30 keV lies above the end of the spectrum"):
        model.expected_counts(angle_deg=0.0, threshold_kev=30.0)
    with pytest.raises(ValueError, match="voltage_kv: 9 kV make next to no photons"):
        model.expected_counts(angle_deg=0.0, voltage_kv=9.0)
