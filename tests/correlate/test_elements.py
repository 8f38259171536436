"""EDS counts of known particles, laid on a map's pixels by a known affine."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xrm_sims.correlate.figures.elements_figure import elements_figure
from xrm_sims.correlate.phases.elements import NICKEL_OF_NCA, eds_on_raster, eds_verdicts
from xrm_sims.correlate.phases.particles import Particle
from xrm_sims.correlate.registration.active_material import chain, pixel_to_scan
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster

SIMS, EDS = Raster((120, 120), 12.0, 0.5, (1.0, -2.0)), Raster((128, 128), 16.0, 10.0, (3.0, 1.0))
AFFINE_OF_IONS = np.array([[1.0, 0.01, 0.4], [-0.01, 1.0, 0.2]])
AFFINE_OF_ELECTRONS = np.array([[0.998, -0.012, -1.5], [0.012, 1.001, -3.2]])


def placed(affine, raster):
    return Registration(chain(affine, pixel_to_scan(raster)), affine, 1.0, 0.03, 60.0, 40.0, 0.9, 0.4, 0.0, 1.0)


def particle(number, p_lco, p_nca):
    return Particle(number, number, 0, 0.0, p_lco, p_nca, 1 - p_lco - p_nca, 0, 0.0, 0.0, 0, 0.0, 0.0, "")


def two_particles(xy_um):
    """1 left of the middle, 2 right of it, in specimen coordinates; nothing far out."""
    middle = apply_affine(AFFINE_OF_IONS, [SIMS.centre_um])[0]
    x, y = np.moveaxis(xy_um - middle, -1, 0)
    return np.where(np.hypot(x, y) > 5.0, 0, np.where(x < 0, 1, 2))


def pixels_of(raster, affine):
    r, c = np.indices(raster.shape)
    at = apply_affine(chain(affine, pixel_to_scan(raster)), np.column_stack([c.ravel(), r.ravel()]))
    return at.reshape(*raster.shape, 2)


@pytest.fixture
def seen():
    """Counts (Ni, Co) at the map's pixels, and the map's labels: 1 is LCO, 2 is NCA."""
    of = two_particles(pixels_of(EDS, AFFINE_OF_ELECTRONS))
    mean = np.stack([50 * NICKEL_OF_NCA * (of == 2), 50 * (of == 1) + 50 * (1 - NICKEL_OF_NCA) * (of == 2)])
    blurred = gaussian_filter(mean.astype(float), (0, 1.2, 1.2)) + 0.2
    counts = np.random.default_rng(7).poisson(blurred)
    eds = placed(AFFINE_OF_ELECTRONS, EDS)
    maps = eds_on_raster(counts, EDS, eds, placed(AFFINE_OF_IONS, SIMS), SIMS.shape)
    return maps, two_particles(pixels_of(SIMS, AFFINE_OF_IONS)).astype(np.int32)


def test_both_lie_on_each_other(seen):
    (nickel, cobalt), labels = seen
    assert np.isfinite(nickel).all()
    # the border between the two is where both are as bright as half of themselves
    row = slice(50, 70)
    profile = nickel[row].mean(axis=0)
    edge = np.interp(0.5 * 50 * NICKEL_OF_NCA, profile[40:80], np.arange(40, 80))
    border = np.argmax(labels[60] == 2)
    assert edge == pytest.approx(border, abs=1.0)  # pixels of 0.1 um; those of EDS are 0.125 um
    assert cobalt[60, border - 20] > 3 * cobalt[60, border + 20]


def test_particles_are_named_and_held_against_the_map(seen):
    maps, labels = seen
    both = [particle(1, 0.99, 0.01), particle(2, 0.01, 0.99)]
    lco, nca = eds_verdicts(*maps, labels, both, SIMS, EDS.pixel_um)
    assert (lco.says, lco.agrees) == ("LCO", True)
    assert (nca.says, nca.agrees) == ("NCA", True)
    assert nca.nickel_share == pytest.approx(NICKEL_OF_NCA, abs=4 * nca.sigma)
    inside_um2 = (labels == 2).sum() * SIMS.pixel_um**2
    assert nca.counts < 50 * inside_um2 / EDS.pixel_um**2  # of EDS pixels, however many the map has in them
    wrong, unsure = [particle(1, 0.01, 0.99)], [particle(1, 0.6, 0.3)]
    assert eds_verdicts(*maps, labels, wrong, SIMS, EDS.pixel_um)[0].agrees is False
    assert eds_verdicts(*maps, labels, unsure, SIMS, EDS.pixel_um)[0].agrees is None


def test_few_counts_say_nothing(seen):
    _, labels = seen
    half = np.where(labels == 1, 0.002, 0.0)
    (verdict,) = eds_verdicts(half, half, labels, [particle(1, 0.99, 0.01)], SIMS, EDS.pixel_um)
    assert (verdict.says, verdict.agrees) == ("", None)


def test_the_picture_has_a_panel_for_each(seen):
    maps, _ = seen
    volume = np.ones((20, 80, 80), np.float32)
    sims = (np.ones((2, *SIMS.shape)), ["58Ni", "59Co"], SIMS, placed(AFFINE_OF_IONS, SIMS))
    figure = elements_figure(volume, 0.2, sims, maps[0], maps, ["Ni", "Co"])
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert len(titles) == 6
    assert titles[-1].endswith("EDS Co")
