import numpy as np
import pytest

from xrm_sims.settings import Specimen
from xrm_sims.specimen import CathodePillar, Material


def test_volume_fractions(pillar, points_in):
    codes = pillar.material_at(points_in(pillar, 400_000))
    share = {m: 100 * (codes == m).mean() for m in Material}
    nca = share[Material.NCA] + share[Material.NCA_BOUNDARY]
    assert share[Material.LCO] == pytest.approx(31, abs=1.5)
    assert nca == pytest.approx(31, abs=1.5)
    assert share[Material.BINDER] == pytest.approx(13, abs=1.5)
    assert share[Material.VACUUM] == pytest.approx(25, abs=1.5)
    assert 1 <= 100 * share[Material.NCA_BOUNDARY] / nca <= 3


def test_same_seed_same_specimen(points_in):
    first, second, other = CathodePillar(5), CathodePillar(5), CathodePillar(6)
    points = points_in(first, 20_000)
    assert np.array_equal(first.material_at(points), second.material_at(points))
    assert np.array_equal(first.pores, second.pores)
    assert not np.array_equal(first.material_at(points), other.material_at(points))


def test_particle_sizes(pillar):
    """Sizes agree with the settings within the few per cent of the scaling to the volume fractions."""
    lco = pillar.particles[pillar.particles["phase"] == Material.LCO]
    nca = pillar.particles[pillar.particles["phase"] == Material.NCA]
    assert lco["diameter_um"].min() > 3.8
    assert lco["diameter_um"].max() < 12.6
    assert nca["diameter_um"].min() > 5.7
    assert nca["diameter_um"].max() < 12.6
    aspect = lco["radii_um"].max(axis=1) / lco["radii_um"].min(axis=1)
    assert aspect.max() <= 1.6 + 1e-9
    assert np.ptp(nca["radii_um"], axis=1).max() < 1e-9


def test_pores_are_empty_and_closed(pillar):
    pores = pillar.pores[np.hypot(*pillar.pores["centre_um"][:, :2].T) < 19]
    assert (pillar.material_at(pores["centre_um"]) == Material.VACUUM).all()
    parents = pillar.particles[pores["particle"]]
    assert (parents["phase"] == pores["phase"]).all()
    direction = np.random.default_rng(0).normal(size=(len(pores), 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    surface = pores["centre_um"] + 0.5 * pores["diameter_um"][:, None] * direction
    inside = np.einsum("nij,ni->nj", parents["axes"], surface - parents["centre_um"]) / parents["radii_um"]
    assert (np.linalg.norm(inside, axis=1) < 1).all()


def test_cracks_are_flat_and_inside_their_particle(pillar):
    cracks = pillar.cracks
    assert len(cracks) > 30
    assert (pillar.material_at(cracks["centre_um"]) == Material.VACUUM).all()
    assert np.allclose(cracks["opening_um"], 2 * cracks["radii_um"][:, 2])
    assert 0.05 <= cracks["opening_um"].min() <= cracks["opening_um"].max() <= 0.5
    assert (cracks["length_um"] > 3 * cracks["opening_um"]).mean() > 0.95
    parents = pillar.particles[cracks["particle"]]
    nca = parents["phase"] == Material.NCA
    radial = cracks["centre_um"][nca] - parents["centre_um"][nca]
    assert np.abs((radial * cracks["normal"][nca]).sum(axis=1)).max() < 1e-9


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_specimen_has_pores_within_reach(seed):
    """0.6 to 1 um wide, 1 to 6 um below the top, within 12 um of the axis."""
    pores = CathodePillar(seed).pores
    depth = Specimen().top_um - pores["centre_um"][:, 2]
    radius = np.hypot(*pores["centre_um"][:, :2].T)
    assert ((pores["diameter_um"] >= 0.6) & (depth > 1) & (depth < 6) & (radius < 12)).sum() >= 3


def test_what_lies_below_and_beside(pillar):
    s = pillar.settings
    places = {
        (0, 0, s.top_um + 0.1): Material.VACUUM,
        (20.1, 0, 0): Material.VACUUM,
        (0, 0, s.top_um - s.detail_depth_um - 1): Material.PILLAR_AVERAGE,
        (24, 0, s.top_um - s.height_um + 5): Material.DEPOSIT,
        (0, 0, s.top_um - s.height_um + 5): Material.PILLAR_AVERAGE,
        (40, 0, s.top_um - s.height_um - 5): Material.STEEL,
        (1000, 0, s.top_um - s.disk_below_top_um - 5): Material.CARBON,
    }
    assert pillar.material_at(list(places)).tolist() == list(places.values())


def test_aluminium_in_binder_falls_off_from_nca(pillar, points_in):
    points = points_in(pillar, 100_000)
    fraction = pillar.binder_al_fraction(points)
    binder = pillar.material_at(points) == Material.BINDER
    assert not fraction[~binder].any()
    nca = pillar.particles[pillar.particles["phase"] == Material.NCA]
    chosen = np.flatnonzero(binder)[:2000]
    gaps = np.linalg.norm(points[chosen, None] - nca["centre_um"], axis=2) - nca["radii_um"][:, 0]
    amplitude = fraction[chosen] * np.exp(gaps.min(axis=1) / pillar.settings.binder_al_length_um)
    low, high = pillar.settings.binder_al_fraction
    assert low - 1e-9 <= amplitude.min() <= amplitude.max() <= high + 1e-9


def test_grains(pillar):
    """An NCA particle is many grains, an LCO particle one, free space none."""
    rng = np.random.default_rng(1)
    within = np.abs(pillar.particles["centre_um"][:, 2]) < 4
    within &= np.hypot(*pillar.particles["centre_um"][:, :2].T) < 14
    for phase in (Material.LCO, Material.NCA):
        particle = pillar.particles[within & (pillar.particles["phase"] == phase)][0]
        points = particle["centre_um"] + rng.uniform(-1.5, 1.5, (20_000, 3))
        solid = pillar.material_at(points) == phase
        grains, counts = np.unique(pillar.grain_id(points[solid]), return_counts=True)
        assert grains.min() > 0
        if phase == Material.LCO:
            assert len(grains) <= 2
        else:
            size_um = np.cbrt(6 / np.pi * 27.0 * counts / len(points))
            whole = np.sort(size_um)[-len(size_um) // 4 :]  # the sampled cube cuts the others
            assert 0.3 < np.median(whole) < 0.8
    assert not pillar.grain_id([[0, 0, 100.0], [0, 0, -100.0]]).any()


def test_wrong_points_are_refused(pillar):
    with pytest.raises(ValueError, match=r"points_um: needs shape \(n, 3\), got \(3,\)"):
        pillar.material_at([0, 0, 0])
