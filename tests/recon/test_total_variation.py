import numpy as np
import pytest

from recon.kernels.total_variation import ITERATIONS, denoise, noise_level

SHAPE = (90, 40, 60)


@pytest.fixture
def disk():
    x, y = ((np.arange(n) - (n - 1) / 2) / n for n in SHAPE[:2])
    return np.hypot(x[:, None], y) < 0.48


def steps(disk):
    """Blocks of 1 and 2 in the disk."""
    x, y, z = np.indices(SHAPE)
    return ((1.0 + ((x // 20 + y // 20 + z // 30) % 2)) * disk[..., None]).astype(np.float32)


@pytest.mark.parametrize("smoothing", [[1.0], [0.25, 0.5, 0.25]])
def test_the_noise_is_measured_despite_edges_and_interpolation(disk, smoothing):
    noise = np.random.default_rng(3).normal(0, 0.1, SHAPE)
    noise = sum(w * np.roll(noise, n, axis=2) for n, w in enumerate(smoothing))
    flat = (1 + noise) * disk[..., None]
    assert noise_level(flat.astype(np.float32), disk) == pytest.approx(noise.std(), rel=0.03)
    # a tenth of the second differences crosses the step at half height, which moves their median by 15 %
    stepped = steps(disk) + (noise * disk[..., None]).astype(np.float32)
    assert noise_level(stepped, disk) == pytest.approx(noise.std(), rel=0.2)


def test_too_few_slices_give_no_noise(disk):
    assert noise_level(np.ones((*SHAPE[:2], 2), np.float32), disk) == 0.0


def test_noise_is_removed_and_edges_stay(disk):
    clean = steps(disk)
    noisy = clean + np.random.default_rng(3).normal(0, 0.1, SHAPE).astype(np.float32) * disk[..., None]
    before = noisy.copy()
    denoise(noisy, 0.1, disk)
    inner = disk & np.roll(disk, 2, 0) & np.roll(disk, -2, 0) & np.roll(disk, 2, 1) & np.roll(disk, -2, 1)
    assert (noisy - clean)[inner].std() < 0.45 * (before - clean)[inner].std()
    lower, upper = (noisy[i - 8 : i + 8, 22:32, 5:25].mean() for i in (30, 50))
    assert abs(upper - lower) == pytest.approx(1, abs=0.02)
    assert abs(noisy[41, 22:32, 5:25].mean() - noisy[38, 22:32, 5:25].mean()) == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(noisy[~disk], 0)


def test_stopping_early_does_not_blur_strong_edges(disk, monkeypatch):
    x = np.indices(SHAPE)[0]
    clean = (1 / (1 + np.exp((x - 45) / 1.2)) * disk[..., None]).astype(np.float32)
    noisy = clean + np.random.default_rng(3).normal(0, 0.7, SHAPE).astype(np.float32) * disk[..., None]
    usual, settled = noisy.copy(), noisy.copy()
    denoise(usual, 0.7, disk)
    monkeypatch.setattr("recon.total_variation.ITERATIONS", 400)
    denoise(settled, 0.7, disk)
    slopes = [np.abs(np.diff(v[30:60, 12:28, 5:55].mean(axis=(1, 2)))).max() for v in (usual, settled, clean)]
    assert slopes[0] > 0.85 * slopes[1] > 0.6 * slopes[2]
    assert (usual - settled)[disk].std() < 0.06 * 0.7


def test_slabs_give_exactly_the_result_of_the_whole_volume(disk):
    noisy = np.random.default_rng(3).normal(1, 0.1, SHAPE).astype(np.float32) * disk[..., None]
    whole, pieces = noisy.copy(), noisy.copy()
    denoise(whole, 0.1, disk)
    denoise(pieces, 0.1, disk, slab_bytes=6 * 4 * SHAPE[1] * SHAPE[2] * (2 * ITERATIONS + 20))
    np.testing.assert_array_equal(pieces, whole)
    assert not np.array_equal(whole, noisy)


def test_a_guide_without_edges_changes_nothing(disk):
    noisy = (steps(disk) + np.random.default_rng(3).normal(0, 0.1, SHAPE).astype(np.float32)) * disk[..., None]
    plain, guided = noisy.copy(), noisy.copy()
    denoise(plain, 0.1, disk)
    denoise(guided, 0.1, disk, slab_bytes=1, guide=np.ones(SHAPE, np.float32))
    np.testing.assert_allclose(guided, plain, atol=1e-5)


def test_edges_of_the_guide_survive_strong_denoising_and_none_are_copied(disk):
    x = np.indices(SHAPE)[0]
    shared, own = x >= 45, (np.indices(SHAPE)[2] >= 30) * disk[..., None]
    clean = (shared * disk[..., None]).astype(np.float32)
    noisy = clean + np.random.default_rng(3).normal(0, 0.5, SHAPE).astype(np.float32) * disk[..., None]
    plain, guided = noisy.copy(), noisy.copy()
    denoise(plain, 1.0, disk)
    denoise(guided, 1.0, disk, guide=(7 - 3.0 * shared + 2.0 * own).astype(np.float32))
    drops = [v[45, 14:26, 5:25].mean() - v[44, 14:26, 5:25].mean() for v in (plain, guided)]
    assert drops[1] > 0.95 > drops[0] + 0.2
    across = guided[20:40, 14:26, 32:50].mean() - guided[20:40, 14:26, 10:28].mean()
    assert abs(across) < 4 * 0.5 / np.sqrt(20 * 12 * 18)  # what noise leaves between the halves
    assert (guided - clean)[20:70, 14:26, 5:55].std() < 0.3 * 0.5
