"""A second target's volume is placed on the first's grid, and the particles are classified by both."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.correlate.conftest import ACTIVE_PER_UM, RADIUS_UM, TOP_UM, Solid, grow
from xrm_sims.correlate.figures.two_target_figure import two_target_figure
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.phases.two_target import TwoTargetSettings, _mixture, classify_particles
from xrm_sims.correlate.registration import volume_fit
from xrm_sims.correlate.registration.volume_fit import VolumeFitSettings, register_volume, seen_by_both
from xrm_sims.correlate.volume.segment import segment, voxel_to_um

SHAPE, VOXEL_UM = (64, 128, 128), 0.2
TURN_DEG, SCALE, SHIFT_UM = 0.6, 1.004, np.array([0.15, -0.1, 0.7])
COPPER = (1.39 * ACTIVE_PER_UM, 0.64 * ACTIVE_PER_UM)  # of LCO and NCA, for what a copper target emits
NOISE = 0.06


def moved(phantom, per_um=COPPER, shift_um=SHIFT_UM):
    """The phantom as another scan may show it: turned about z, larger, shifted, of other contrast."""
    turn = Rotation.from_euler("z", TURN_DEG, degrees=True).as_matrix()

    def carried(solid):
        return Solid(SCALE * turn @ solid.centre_um + shift_um, SCALE * solid.radii_um, solid.axes @ turn.T)

    particles, pores, cracks = (
        [carried(solid) for solid in solids] for solids in (phantom.particles, phantom.pores, phantom.cracks)
    )
    x, y, top = SCALE * turn @ [*phantom.centre_um, TOP_UM] + shift_um
    return replace(
        phantom, particles=particles, pores=pores, cracks=cracks, centre_um=(x, y), radius_um=SCALE * RADIUS_UM,
        top_um=top, per_um=per_um,
    )  # fmt: skip


@pytest.fixture(scope="module")
def segmented(phantom_volume):
    return segment(phantom_volume, VOXEL_UM)


@pytest.fixture(scope="module")
def copper(phantom):
    return moved(phantom).volume(SHAPE, VOXEL_UM, NOISE, seed=21)


@pytest.fixture(scope="module")
def fit(segmented, copper):
    return register_volume(segmented, copper, VOXEL_UM)


@pytest.fixture(scope="module")
def seen(phantom, segmented, fit):
    """The copper volume on the tungsten grid, as far as its scan reached."""
    volume = replace(phantom, per_um=COPPER).volume(SHAPE, VOXEL_UM, NOISE, seed=21)
    return np.where(seen_by_both(segmented, fit, SHAPE, VOXEL_UM), volume, np.nan)


@pytest.fixture(scope="module")
def found(segmented, seen):
    return classify_particles(segmented, seen)


def test_the_second_volume_is_placed_within_its_stated_uncertainty(fit):
    turn = SCALE * Rotation.from_euler("z", TURN_DEG, degrees=True).as_matrix()
    places = np.random.default_rng(0).uniform((-10, -10, -6), (10, 10, 4), (500, 3))
    right, found = places @ turn.T + SHIFT_UM, places @ fit.matrix[:, :3].T + fit.matrix[:, 3]
    error_nm = 1e3 * np.sqrt(((right - found) ** 2).sum(axis=1).mean())
    assert error_nm < 2 * fit.sigma_nm
    assert fit.sigma_nm < 50
    assert fit.scale == pytest.approx(SCALE, abs=1e-3)
    assert fit.rotation_deg[2] == pytest.approx(TURN_DEG, abs=0.1)


def test_the_second_volume_ends_at_its_faces(segmented, fit):
    seen = seen_by_both(segmented, fit, SHAPE, VOXEL_UM)
    top = int(np.flatnonzero(seen.any(axis=(1, 2)))[-1])
    face_um = (0.5 * (SHAPE[0] - 1) * VOXEL_UM - SHIFT_UM[2]) / SCALE
    assert voxel_to_um(np.array([[top, 0.0, 0.0]]), SHAPE, VOXEL_UM)[0, 2] == pytest.approx(face_um, abs=VOXEL_UM)
    assert seen[:top].mean() > 0.97


def test_every_whole_particle_is_classified_with_certainty(phantom, found):
    centres = np.array([particle.centre_um for particle in found.particles])
    whole = 0
    for solid, phase in zip(phantom.particles, phantom.phases, strict=True):
        reach = solid.radii_um.max()
        if np.hypot(*(solid.centre_um[:2] - phantom.centre_um)) + reach > RADIUS_UM or not -3 < solid.centre_um[2] < 1:
            continue
        away = np.linalg.norm(centres - solid.centre_um, axis=1)
        near = found.particles[int(away.argmin())]
        assert away.min() < 0.5 * reach
        assert near.phase is (Phase.LCO, Phase.NCA)[phase - 1]
        assert near.probability > 0.99
        assert near.position == pytest.approx(2 - phase, abs=0.15)
        whole += 1
    assert whole >= 5


def test_the_map_of_phases_agrees_with_the_phantom(phantom, segmented, found):
    index = np.argwhere(found.classes > 0)
    codes = phantom.codes(voxel_to_um(index.astype(float), SHAPE, VOXEL_UM))
    named = found.classes[tuple(index.T)]
    both = np.isin(codes, (1, 2))
    right = named[both] == np.array([Phase.LCO, Phase.NCA])[codes[both] - 1]
    assert right.mean() > 0.97  # the rest lies where two particles of both phases touch
    assert found.contrast == pytest.approx(COPPER[0] / COPPER[1], rel=0.1)


def test_positions_scatter_as_their_stated_errors(found):
    assert found.scatter < 0.1
    for phase, level in ((Phase.LCO, 1), (Phase.NCA, 0)):
        some = [p for p in found.particles if p.phase is phase and p.volume_um3 > 10]
        assert len(some) > 3
        away = np.array([p.position - level for p in some])
        assert np.sqrt((away**2).mean()) < 2 * np.hypot(found.scatter, np.median([p.position_sigma for p in some]))


def test_a_particle_between_both_levels_is_uncertain():
    position = np.array([0.0, 0.02, -0.03, 0.01, 1.0, 0.98, 1.03, 1.01, 0.5])
    lco, _ = _mixture(position, np.full(9, 0.02), TwoTargetSettings(least_scatter=0.1))
    assert (lco[:4] < 1e-3).all()
    assert (lco[4:8] > 0.999).all()
    assert 0.05 < lco[8] < 0.95


def test_another_specimen_is_refused(segmented):
    other = replace(grow(seed=5), per_um=COPPER).volume(SHAPE, VOXEL_UM, NOISE, seed=22)
    with pytest.raises(ValueError, match="do both runs show the same specimen"):
        register_volume(segmented, other, VOXEL_UM)


@pytest.mark.parametrize(
    ("settings", "constants", "message"),
    [
        ({"height_range_um": 0.5}, {}, r"raised by 0\.7\d* um, beyond the search range of 0\.5 um"),
        ({"rotation_range_deg": 0.3}, {}, r"turned by 0\.(59|6)\d* deg"),
        ({}, {"LARGEST_DISAGREEMENT": 0.0}, "two halves of the specimen"),
        ({}, {"COARSE_AGREEMENT_UM": 0.0}, "correlation and least squares"),
    ],
)
def test_a_fit_that_cannot_be_trusted_is_refused(monkeypatch, segmented, copper, settings, constants, message):
    for name, value in (constants | {"BLURS_UM": (0.5,)}).items():
        monkeypatch.setattr(volume_fit, name, value)
    with pytest.raises(ValueError, match=message):
        register_volume(segmented, copper, VOXEL_UM, VolumeFitSettings(**settings))


def test_one_phase_alone_is_refused(phantom_volume, segmented):
    with pytest.raises(ValueError, match="do not form two groups"):
        classify_particles(segmented, segmented.normalised)
    with pytest.raises(ValueError, match="second: got shape"):
        classify_particles(segmented, phantom_volume[1:])


def test_voxels_of_another_size_are_refused(segmented, copper):
    with pytest.raises(ValueError, match="reconstruct both with the same --voxel-um"):
        register_volume(segmented, copper, 0.3)


def test_the_figure_shows_both_volumes_and_the_phases(segmented, seen, found):
    figure = two_target_figure(segmented, seen, found)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert sorted(image.shape for image in shown) == 3 * [SHAPE[:1] + SHAPE[2:]] + 3 * [SHAPE[1:]]
    phases = [image for image in shown if image.dtype == np.uint8]
    assert [set(np.unique(image)) for image in phases] == 2 * [{Phase.PORE, Phase.LCO, Phase.NCA}]
    assert sum(len(axes.patches) for axes in figure.axes) == 6  # a scale bar in each slice
