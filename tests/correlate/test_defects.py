import numpy as np
import pytest

from xrm_sims.correlate.volume.defects import find_defects

VOXEL_UM = 0.2


@pytest.fixture(scope="module")
def found(phantom_volume):
    return find_defects(phantom_volume, VOXEL_UM)


def _nearest(solid, found):
    distance = [np.linalg.norm(np.subtract(d.centre_um, solid.centre_um)) for d in found]
    return found[int(np.argmin(distance))], min(distance)


def test_every_planted_void_is_found_within_half_a_voxel(phantom, found):
    assert len(phantom.pores) >= 8
    assert len(phantom.cracks) >= 2
    for solid in [*phantom.pores, *phantom.cracks]:
        assert _nearest(solid, found)[1] < 0.5 * VOXEL_UM


def test_almost_nothing_else_is_found(phantom, found):
    planted = [*phantom.pores, *phantom.cracks]
    hits = {id(_nearest(solid, found)[0]) for solid in planted}
    assert len(hits) >= 0.9 * len(found)


def test_sizes_kinds_and_directions(phantom, found):
    for pore in phantom.pores:
        defect, _ = _nearest(pore, found)
        assert defect.kind == "pore"
        assert defect.diameter_um == pytest.approx(2 * pore.radii_um[0], rel=0.2)
    for crack in phantom.cracks:
        defect, _ = _nearest(crack, found)
        assert defect.kind == "crack"
        assert abs(np.dot(defect.normal, crack.axes[0])) > 0.97
        assert defect.extents_um[0] == pytest.approx(2 * crack.radii_um.max(), rel=0.2)


def test_depth_and_distance_to_the_side_fit_the_centre(phantom, found):
    for d in found:
        assert d.depth_um == pytest.approx(4.0 - d.centre_um[2], abs=0.1)
        side = 10.0 - np.hypot(*np.subtract(d.centre_um[:2], phantom.centre_um))
        assert d.edge_um == pytest.approx(side, abs=0.15)


def test_a_specimen_without_defects_has_next_to_none(clean_volume):
    assert len(find_defects(clean_volume, VOXEL_UM)) <= 2


def test_defects_go_into_documents(found):
    import json

    table = json.loads(json.dumps([d.as_dict() for d in found]))
    assert table[0]["centre_um"] == pytest.approx(list(found[0].centre_um))


def test_recall_and_precision_on_the_cathode_pillar(pillar, pillar_volume):
    """At 200 nm voxels: pores of 0.6 um and more, and nothing where there is neither pore nor crack."""
    found = find_defects(pillar_volume, VOXEL_UM)
    centres = np.array([d.centre_um for d in found])
    pores = pillar.pores[pillar.pores["diameter_um"] >= 0.6]
    x, y, z = pores["centre_um"].T
    size = pores["diameter_um"]
    pores = pores[(z > -5.5) & (z < pillar.settings.top_um - size) & (np.hypot(x, y) < 20 - size)]
    assert len(pores) > 30
    distance = np.linalg.norm(centres[None] - pores["centre_um"][:, None], axis=2).min(axis=1)
    assert np.mean(distance < 0.3) >= 0.8

    near_pore = np.linalg.norm(pillar.pores["centre_um"][None] - centres[:, None], axis=2) < 0.3
    cracks = pillar.cracks
    local = np.einsum("cij,nci->ncj", cracks["axes"], centres[:, None] - cracks["centre_um"][None])
    in_crack = ((local / (cracks["radii_um"] + [0.1, 0.1, 0.25])) ** 2).sum(axis=2) < 1
    assert np.mean(near_pore.any(axis=1) | in_crack.any(axis=1)) >= 0.9
