import numpy as np
import pytest

from xrm_sims.correlate.volume.segment import coordinates_um, segment

VOXEL_UM = 0.2


def test_the_pillar_is_found_to_a_quarter_of_a_voxel(phantom, phantom_volume):
    pillar = segment(phantom_volume, VOXEL_UM).pillar
    np.testing.assert_allclose(pillar.centre_um, phantom.centre_um, atol=0.05)
    assert pillar.radius_um == pytest.approx(10.0, abs=0.08)
    assert pillar.top_z_um == pytest.approx(4.0, abs=0.1)
    assert np.hypot(*pillar.stretch) < 0.004


def test_particles_are_separated(phantom, phantom_volume):
    labels = segment(phantom_volume, VOXEL_UM).particles
    z, y, x = np.meshgrid(*coordinates_um(labels.shape, VOXEL_UM), indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    whole = [
        p
        for p in phantom.particles
        if np.hypot(*(p.centre_um[:2] - phantom.centre_um)) + p.radii_um.max() < 10 and -4 < p.centre_um[2] < 1
    ]
    assert len(whole) >= 5
    own = []
    for particle in whole:
        inside = labels[particle.contains(points)]
        label, count = np.unique(inside[inside > 0], return_counts=True)
        assert count.max() > 0.95 * inside.size
        own.append(int(label[count.argmax()]))
    assert len(set(own)) == len(own)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_noise_does_not_change_the_share_of_active_material(phantom, phantom_volume, noise):
    reference = segment(phantom_volume, VOXEL_UM).active.mean()
    noisy = phantom.volume(phantom_volume.shape, VOXEL_UM, noise, seed=3)
    assert segment(noisy, VOXEL_UM).active.mean() == pytest.approx(reference, rel=0.03)


def test_cupping_is_taken_off(phantom_volume):
    yy, xx = np.indices(phantom_volume.shape[1:]) * VOXEL_UM - 12.7
    cupped = phantom_volume * (0.7 + 0.3 * (xx**2 + yy**2) / 100).astype(np.float32)
    plain, bent = segment(phantom_volume, VOXEL_UM), segment(cupped, VOXEL_UM)
    assert np.mean(plain.active != bent.active) < 0.005
    assert np.median(bent.normalised[bent.active]) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("volume", "word"),
    [
        (np.zeros((8, 8)), "shape"),
        (np.full((8, 8, 8), np.nan), "not finite"),
        (np.full((8, 8, 8), 0.05), "nothing to segment"),
        (np.random.default_rng(0).normal(size=(32, 48, 48)), "no contrast"),
    ],
)
def test_volumes_without_a_specimen_are_refused(volume, word):
    with pytest.raises(ValueError, match=word):
        segment(volume, VOXEL_UM)


def test_a_voxel_without_size_is_refused(phantom_volume):
    with pytest.raises(ValueError, match="voxel_um"):
        segment(phantom_volume, 0.0)
