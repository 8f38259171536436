import numpy as np
import pytest
from scipy import ndimage

from xrm_sims.correlate.registration.pillar_outline import locate_pillar, pillar_affine
from xrm_sims.correlate.volume.segment import PillarFit
from xrm_sims.geometry import apply_affine

FOV_UM, PIXELS = 60.0, 512


def se_of_a_pillar(linear, centre_um, rng, inside=120.0, outside=15.0):
    """A pillar of radius 20 um, dark voids in its top and bright edges, under a scan with the given affine."""
    pixel = FOV_UM / PIXELS
    u = (np.arange(PIXELS) - (PIXELS - 1) / 2) * pixel
    uv = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2) - centre_um
    r = np.hypot(*(uv @ np.asarray(linear).T).T).reshape(PIXELS, PIXELS)
    voids = ndimage.gaussian_filter(rng.normal(size=r.shape), 9) > 0.02
    image = np.where(r < 20, np.where(voids, 0.35 * inside, inside), outside)
    image = image + 2 * inside * np.exp(-(((r - 19.8) / 0.15) ** 2)) * (r < 20)
    return rng.poisson(ndimage.gaussian_filter(image, 0.5))


@pytest.mark.parametrize("seed", range(5))
def test_the_centre_comes_back_to_a_tenth_of_a_micrometre(seed):
    rng = np.random.default_rng(seed)
    angle, scale = np.radians(rng.uniform(-1, 1)), rng.uniform(0.99, 1.01)
    stretch = rng.uniform(-0.004, 0.004, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1 + stretch[0], stretch[1]], [stretch[1], 1 - stretch[0]]])
    centre = rng.uniform(-4, 4, 2)
    outline = locate_pillar(se_of_a_pillar(linear, centre, rng), FOV_UM)
    np.testing.assert_allclose(outline.centre_um, centre, atol=0.1)
    assert outline.radius_um == pytest.approx(20 / scale, abs=0.15)

    affine = pillar_affine(outline, PillarFit((1.0, -2.0), 20.0, 4.5))
    np.testing.assert_allclose(apply_affine(affine, [centre])[0], (1.0, -2.0), atol=0.1)
    # What is left is the rotation.
    np.testing.assert_allclose(turn.T @ linear, turn.T @ turn @ affine[:, :2], atol=0.004)


def test_a_dark_pillar_and_a_shifted_scan_centre():
    rng = np.random.default_rng(9)
    image = se_of_a_pillar(np.eye(2), (2.0, 1.0), rng, inside=10.0, outside=90.0)
    outline = locate_pillar(image, FOV_UM, centre_um=(5.0, -3.0))
    np.testing.assert_allclose(outline.centre_um, (7.0, -2.0), atol=0.15)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((128, 128)), "blank"),
        (np.zeros((4, 4)), "shape"),
        (np.random.default_rng(0).poisson(20, (256, 256)), "se_image"),
    ],
)
def test_images_without_a_pillar_are_refused(image, word):
    with pytest.raises(ValueError, match=word):
        locate_pillar(image, FOV_UM)


@pytest.mark.parametrize("centre_um", [(32.0, 25.0), (28.0, 12.0)])
def test_a_pillar_mostly_outside_the_image_is_refused(centre_um):
    image = se_of_a_pillar(np.eye(2), centre_um, np.random.default_rng(1))
    with pytest.raises(ValueError, match="se_image"):
        locate_pillar(image, FOV_UM)
