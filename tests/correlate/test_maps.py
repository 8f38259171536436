import numpy as np
import pytest

from xrm_sims.correlate.maps.field_maps import channel_statistics, rgb_composition, slice_in_field

LABELS = ("7Li", "27Al", "58Ni", "59Co")


@pytest.fixture(scope="module")
def counts():
    """Four quarters: LCO, NCA, binder, pore, with the counts of one frame at 0.55 ms and 50 pA."""
    mean = np.zeros((4, 200, 200))
    mean[:, :100, :100] = np.array([460, 0, 0, 7.9])[:, None, None]
    mean[:, :100, 100:] = np.array([454, 9.1, 6.3, 1.2])[:, None, None]
    mean[:, 100:, :100] = np.array([0.1, 2.3, 0, 0])[:, None, None]
    return np.random.default_rng(2).poisson(mean)


def test_a_slice_follows_the_affine():
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 0.2 for n in (20, 60, 70)), indexing="ij")
    volume = (x + 3 * y + 10 * z).astype(np.float32)
    affine = np.array([[0.05, 0.002, -2.0], [-0.003, 0.05, -1.5]])
    seen = slice_in_field(volume, 0.2, 0.33, affine, (40, 50))
    r, c = np.indices((40, 50))
    xs, ys = 0.05 * c + 0.002 * r - 2.0, -0.003 * c + 0.05 * r - 1.5
    np.testing.assert_allclose(seen, xs + 3 * ys + 3.3, atol=1e-4)
    assert np.isnan(slice_in_field(volume, 0.2, 0.0, np.array([[1.0, 0, 0], [0, 1.0, 0]]), (40, 50))[-1, -1])
    with pytest.raises(ValueError, match="outside the volume"):
        slice_in_field(volume, 0.2, 5.0, affine, (4, 4))


def test_statistics_state_their_error(counts):
    lithium = channel_statistics(counts, LABELS)[0]
    assert lithium.total == counts[0].sum()
    assert lithium.standard_error == pytest.approx(np.sqrt(counts[0].sum()) / 40000)
    with pytest.raises(ValueError, match="labels"):
        channel_statistics(counts, LABELS[:2])


def test_lithium_is_green_and_cobalt_red(counts):
    picture = rgb_composition(np.stack([counts, counts]), LABELS)
    assert picture.shape == (200, 200, 3)
    lco, binder = picture[10:90, 10:90].mean(axis=(0, 1)), picture[110:190, 10:90].mean(axis=(0, 1))
    assert min(lco[0], lco[1]) > 3 * lco[2]
    assert binder[2] > max(binder[0], binder[1])
