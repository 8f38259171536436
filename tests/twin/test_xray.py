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
    """Counts in 90 s of the ray to one full-format pixel, traced on its own."""
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
    """The homogeneous part's shadow: stage along +y by M, source along +y by -(M - 1)."""

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


def test_blur_has_the_width_of_the_magnified_spot(model):
    """Variance of both Gaussians at magnification M - 1, plus that of the pixel (1/12)."""
    image = np.zeros((256, 1280), np.float32)
    image[128, 640] = 1.0
    profile = model._blur(image, SETTINGS.source.focal_spot, 1).sum(axis=0)
    columns = np.arange(1280) - 640
    per_nm = 1099 / 55_000
    expected = (0.26 * 60**2 + 0.74 * 259**2) * per_nm**2 + 1 / 12
    assert (profile * columns**2).sum() == pytest.approx(expected, rel=0.02)


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
