import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, random_spheres, rms_error, scan_geometry, truth
from recon.algorithms.sart import data_noise

WIDTH, HEIGHT, VIEWS = 64, 48, 90
COUNTS = 1453.0


@pytest.fixture(scope="module")
def phantom():
    return random_spheres(WIDTH, HEIGHT, seed=5)


@pytest.fixture(scope="module")
def expected(phantom):
    return truth(phantom, (HEIGHT, WIDTH, WIDTH))


def noisy(p, seed=11):
    counts = np.random.default_rng(seed).poisson(COUNTS * np.exp(-p))
    return np.log(COUNTS / np.maximum(counts, 0.5)).astype(np.float32)


def test_three_sweeps_find_the_spheres(phantom, expected):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    result = recon.sart(p, geometry, sweeps=3, subsets=VIEWS, relaxation=0.3, tv=0)
    assert rms_error(result.volume, expected) < 0.13 * rms_error(0 * expected, expected)
    assert (np.diff(result.residuals) < 0).all()
    assert result.volume.min() >= 0
    assert result.volume.dtype == np.float32
    assert result.seconds > 0


def test_a_displaced_scan_gives_the_same_volume(phantom, expected):
    rng = np.random.default_rng(4)
    moved = scan_geometry(
        WIDTH,
        HEIGHT,
        VIEWS,
        view_shifts_px=rng.normal(0, 1.5, (VIEWS, 2)),
        axis_offset_um=1.5,
        detector_offset_px=(-0.8, 1.3),
        detector_roll_deg=1.2,
    )
    errors = [
        rms_error(recon.sart(exact_projections(phantom, g), g, tv=0).volume, expected)
        for g in (scan_geometry(WIDTH, HEIGHT, VIEWS), moved)
    ]
    assert errors[1] < 1.25 * errors[0]


def test_total_variation_helps_noisy_data(phantom, expected):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = noisy(exact_projections(phantom, geometry))
    plain = min(rms_error(recon.sart(p, geometry, tv=0, sweeps=n).volume, expected) for n in (1, 2, 3))
    default = rms_error(recon.sart(p, geometry).volume, expected)
    assert default < 0.85 * plain


def test_defaults_need_fewer_sweeps_than_plain_sart(phantom, expected):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    plain = recon.sart(p, geometry, sweeps=3, subsets=VIEWS, relaxation=0.3, tv=0)
    default = recon.sart(p, geometry)
    assert len(default.residuals) < 3
    assert rms_error(default.volume, expected) < rms_error(plain.volume, expected)


@pytest.mark.parametrize("views", [8, 24])
def test_few_views_are_no_worse_for_the_start(phantom, expected, views):
    geometry = scan_geometry(WIDTH, HEIGHT, views)
    p = noisy(exact_projections(phantom, geometry))
    zero = recon.sart(p, geometry, initial=np.zeros_like(expected), sweeps=2)
    assert rms_error(recon.sart(p, geometry, sweeps=2).volume, expected) < 1.05 * rms_error(zero.volume, expected)


def test_without_regularisation_the_start_is_zero(phantom, expected):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    np.testing.assert_array_equal(
        recon.sart(p, geometry, sweeps=1, tv=0).volume,
        recon.sart(p, geometry, sweeps=1, tv=0, initial=np.zeros_like(expected)).volume,
    )


def test_the_stopping_rule_knows_the_noise(phantom):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    counts = np.random.default_rng(2).poisson(COUNTS * np.exp(-p)).astype(np.float32)
    weights = np.minimum(counts / 1000, 1).astype(np.float32)
    weights[:, 10:12] = 0
    measured = np.log(COUNTS / counts).astype(np.float32)
    actual = np.sqrt((weights * (measured - p) ** 2).sum() / weights.sum())
    measured[:, 10:12] = 9.0
    assert data_noise(measured, weights) == pytest.approx(actual, rel=0.06)
    assert data_noise(np.zeros_like(p)) == 0


def test_the_support_is_a_cylinder_or_a_mask(phantom):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    y = np.arange(WIDTH) - (WIDTH - 1) / 2
    radius = np.hypot(y[:, None], y)
    assert (recon.sart(p, geometry, sweeps=1).volume[:, radius > WIDTH / 2] == 0).all()
    assert (recon.sart(p, geometry, sweeps=1, support=20.0).volume[:, radius > 20] == 0).all()
    mask = radius < 15
    mask[:, :20] = False
    assert (recon.sart(p, geometry, sweeps=1, support=mask).volume[:, ~mask] == 0).all()


def test_rays_without_weight_do_not_matter(phantom):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    weights = np.ones_like(p)
    weights[:, :, 30:32] = 0
    broken = p.copy()
    broken[:, :, 30:32] = 50.0
    for options in ({"sweeps": 1, "tv": 0}, {}):
        np.testing.assert_array_equal(
            recon.sart(p, geometry, weights=weights, **options).volume,
            recon.sart(broken, geometry, weights=weights, **options).volume,
        )


def test_an_initial_volume_is_used_and_negative_values_are_allowed(phantom, expected):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    p = exact_projections(phantom, geometry)
    cold = recon.sart(p, geometry, sweeps=1, tv=0)
    warm = recon.sart(p, geometry, sweeps=1, tv=0, initial=expected)
    assert warm.residuals[0] < 0.5 * cold.residuals[0]
    assert recon.sart(noisy(p), geometry, sweeps=1, tv=0, nonnegative=False).volume.min() < 0


def test_progress_ends_at_one(phantom):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    seen: list[float] = []
    recon.sart(exact_projections(phantom, geometry), geometry, sweeps=2, subsets=5, progress=seen.append)
    assert seen == pytest.approx(np.arange(1, 11) / 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subsets": 91}, "subsets: needs 1 to 90"),
        ({"sweeps": 0}, "sweeps: needs at least one, got 0"),
        ({"relaxation": 2.0}, "relaxation: needs a number between 0 and 2, got 2.0"),
        ({"tv": -1.0}, "tv: needs a strength"),
        ({"support": -3.0}, "support: needs a positive radius"),
        ({"support": np.ones((3, 3))}, r"support: .*got \(3, 3\)"),
        ({"initial": np.zeros((1, 2, 3))}, r"initial: got shape \(1, 2, 3\)"),
        ({"weights": np.zeros((VIEWS, HEIGHT, WIDTH))}, "weights: needs numbers from 0 to 1"),
    ],
)
def test_refusals(changes, message):
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    with pytest.raises(ValueError, match=message):
        recon.sart(np.zeros((VIEWS, HEIGHT, WIDTH)), geometry, **changes)


def test_wrong_number_of_angles_and_nan_are_named():
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    with pytest.raises(ValueError, match=r"p: got shape \(89, 48, 64\), the geometry needs \(90, 48, 64\)"):
        recon.sart(np.zeros((VIEWS - 1, HEIGHT, WIDTH)), geometry)
    with pytest.raises(ValueError, match="p: needs finite numbers"):
        recon.sart(np.full((VIEWS, HEIGHT, WIDTH), np.nan), geometry)


def test_the_needed_memory_is_predicted():
    geometry = scan_geometry(1280, 256, 1200, volume_shape=(256, 1280, 1280))
    volume = 4 * 256 * 1280**2
    assert volume < recon.memory_needed(geometry, tv=False) < 1.3 * volume
    assert recon.memory_needed(geometry) - recon.memory_needed(geometry, tv=False) < 0.6e9
