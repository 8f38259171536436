"""Phases from simulated counts: a field of particles, binder and pores, with its CT slice."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import ndimage

from xrm_sims.correlate.figures import drawing
from xrm_sims.correlate.figures.phase_figures import phases_figure
from xrm_sims.correlate.phases.chemistry import analyse
from xrm_sims.correlate.phases.interference import C2H3_U, slit_share
from xrm_sims.correlate.phases.particles import find_particles, identity, poisson_interval
from xrm_sims.correlate.phases.phase_statistics import binder_aluminium, mean_in, phase_table
from xrm_sims.correlate.phases.phases import CHANNELS, Phase, PhaseModel, active_prior
from xrm_sims.correlate.phases.profiles import boundary_profiles, line_profile
from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings

SIDE, PIXEL_UM, DWELL_S = 160, 0.05, 0.55e-3
IONS = 1.716e5
INSTRUMENT = Settings()
# counts per pixel at 50 pA and 0.55 ms; binder: aluminium and the third of C2H3 that passes the slit
RATES = {
    Phase.LCO: (460.0, 0.0, 0.0, 7.9),
    Phase.NCA: (454.0, 9.1, 6.3, 1.2),
    Phase.BINDER: (0.0, 0.9 + 0.33, 0.0, 0.0),
    Phase.PORE: (0.0, 0.0, 0.0, 0.0),
}
DISKS = ((40, 45, 30, Phase.LCO), (45, 118, 28, Phase.NCA), (118, 50, 26, Phase.NCA), (122, 118, 20, Phase.LCO))
POCKET = (85, 85)  # an open void at whose bottom there is LCO, dim


class Field:
    """Truth (row, column), counts, CT slice and CT labels."""

    def __init__(self, dose: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        r, c = np.indices((SIDE, SIDE))
        self.truth = np.full((SIDE, SIDE), Phase.BINDER, np.uint8)
        self.truth[:, :12] = Phase.PORE
        self.ct_labels = np.zeros((SIDE, SIDE), np.int32)
        for number, (row, column, radius, phase) in enumerate(DISKS, 1):
            disk = np.hypot(r - row, c - column) < radius
            self.truth[disk] = phase
            self.ct_labels[disk] = number
        pocket = np.hypot(r - POCKET[0], c - POCKET[1]) < 8
        self.truth[pocket] = Phase.PORE
        mean = np.zeros((4, SIDE, SIDE))
        for phase, rates in RATES.items():
            mean[:, self.truth == phase] = np.array(rates)[:, None]
        mean[:, pocket] = 0.3 * np.array(RATES[Phase.LCO])[:, None]
        boundary = (self.ct_labels == 2) & (np.abs(c - 118) < 1)
        mean[1, boundary] *= 4.0
        tail = 0.03 * ndimage.gaussian_filter(mean, (0, 3, 3))
        self.counts = rng.poisson(dose * (0.97 * mean + tail) + 5.0 * DWELL_S).astype(float)
        active = (self.ct_labels > 0).astype(float)
        self.slice = ndimage.gaussian_filter(active, 3.0) + rng.normal(0, 0.05, active.shape)

    def model(self, **changes: object) -> PhaseModel:
        given = {
            "pixel_um": PIXEL_UM,
            "dwell_s": DWELL_S,
            "instrument": INSTRUMENT,
            "active": active_prior(self.slice, PIXEL_UM, 0.08),
        }
        return PhaseModel(self.counts, CHANNELS, **(given | changes))


@pytest.fixture(scope="module")
def field() -> Field:
    return Field(dose=1.0, seed=1)


@pytest.fixture(scope="module")
def phases(field):
    return field.model().posterior()


def right(found, field, *phases):
    there = np.isin(field.truth, phases)
    return float((found.codes == field.truth)[there].mean())


def test_the_phases_of_a_field(field, phases):
    assert right(phases, field, Phase.LCO, Phase.NCA) > 0.99
    assert right(phases, field, Phase.BINDER) > 0.9
    assert right(phases, field, Phase.PORE) > 0.8
    np.testing.assert_allclose(phases.probabilities.sum(axis=0), 1.0, atol=1e-5)
    for phase in (Phase.LCO, Phase.NCA):
        np.testing.assert_allclose(phases.rates[phase], RATES[phase], rtol=0.1, atol=0.5)


def test_the_bottom_of_a_pore_is_pore_with_a_phase(field, phases):
    row, column = POCKET
    assert phases.codes[row, column] == Phase.PORE
    assert phases.nca_share[row - 5 : row + 6, column - 5 : column + 6].max() < 0.01


def test_ten_times_other_yields_change_nothing(field):
    """Useful yields are uncertain by that factor; the mixture takes its rates from the map."""
    more = Field(dose=1.0, seed=2)
    rng = np.random.default_rng(3)
    more.counts[0] = rng.binomial(more.counts[0].astype(int), 0.1)
    assert right(more.model().posterior(), more, Phase.LCO, Phase.NCA) > 0.98


def test_with_few_counts_ct_and_the_particle_decide():
    """At a fiftieth of the dose a pixel of NCA has a third of a count more than LCO in nickel and aluminium."""
    faint = Field(dose=0.02, seed=4)
    model = faint.model()
    found = find_particles(model.posterior(), faint.counts, faint.ct_labels)
    together = model.posterior(found.nca_prior())
    assert right(together, faint, Phase.LCO, Phase.NCA) > 0.95
    assert right(together, faint, Phase.LCO, Phase.NCA) >= right(model.posterior(), faint, Phase.LCO, Phase.NCA)


def test_particles_carry_their_probability(field, phases):
    found = find_particles(phases, field.counts, field.ct_labels)
    assert [p.ct_label for p in found.found] == [1, 2, 3, 4]
    for particle, (*_, phase) in zip(found.found, DISKS, strict=True):
        assert (particle.p_nca if phase == Phase.NCA else particle.p_lco) > 0.99
        assert particle.p_lco + particle.p_nca + particle.p_neither == pytest.approx(1.0)
        assert particle.nickel_low <= particle.nickel <= particle.nickel_high
        assert particle.remark == ""
    assert found.unseen == []


def test_a_disagreement_of_ct_and_map_is_remarked(field, phases):
    labels = field.ct_labels.copy()
    labels[labels == 2] = 1  # CT merges two
    labels[labels == 4] = 0  # and misses another
    labels[140:146, 20:30] = 9  # and shows one in binder
    found = find_particles(phases, field.counts, labels)
    remarks = {(p.ct_label, p.p_nca > 0.5): p.remark for p in found.found}
    assert remarks == {
        (1, False): "CT merges it with another particle",
        (1, True): "CT merges it with another particle",
        (3, True): "",
        (0, False): "not labelled by CT",
    }
    assert found.unseen == [9]


@pytest.mark.parametrize(
    ("nickel", "cobalt", "expected"),
    [(0, 0, "undecided"), (0, 3000, "lco"), (2500, 500, "nca"), (1200, 1800, "neither"), (1, 1, "undecided")],
)
def test_nickel_and_cobalt_classify_the_particle(nickel, cobalt, expected):
    p_lco, p_nca, p_neither = identity(nickel, cobalt, (0.003, 0.84))
    chance = {"lco": p_lco, "nca": p_nca, "neither": p_neither}
    if expected == "undecided":
        assert max(chance.values()) < 0.95
    else:
        assert chance[expected] > 0.95


def test_means_state_an_interval_that_covers(field):
    """Independent pixels: about 95 of 100 intervals hold the mean, Poisson 100 of them within 3 sigma of 95."""
    rng = np.random.default_rng(5)
    there = np.ones((60, 60), bool)
    held = sum(m.low <= 1.5 <= m.high for m in (mean_in(rng.poisson(1.5, (60, 60)), there, 0.1) for _ in range(200)))
    assert held >= 0.95 * 200 - 3 * np.sqrt(0.95 * 0.05 * 200)
    patchy = np.repeat(np.repeat(rng.poisson(1.5, (6, 6)), 10, 0), 10, 1).astype(float)  # one number a tile
    m = mean_in(patchy, there, 0.1)
    assert m.high - m.low > 5 * 2 * 1.96 * np.sqrt(1.5 / 3600)
    assert poisson_interval(0) == (0.0, pytest.approx(3.689, abs=1e-3))
    assert poisson_interval(10) == (pytest.approx(4.795, abs=1e-3), pytest.approx(18.390, abs=1e-3))


def test_the_table_has_every_phase_and_channel(field, phases):
    rows = {(row.phase, row.channel): row for row in phase_table(phases, field.counts)}
    assert len(rows) == len(Phase) * len(CHANNELS)
    for phase in (Phase.LCO, Phase.NCA):
        lithium = rows[phase.words, "7Li"]
        assert lithium.low <= RATES[phase][0] <= lithium.high + 2.0  # a particle's rim is a little darker
        assert lithium.share == pytest.approx(float((field.truth == phase).mean()), abs=0.01)


def test_c2h3_is_taken_off_the_aluminium_of_binder(field, phases):
    assert slit_share(C2H3_U, "27Al", INSTRUMENT.sector) == pytest.approx(1 / 3, abs=0.02)
    binder = binder_aluminium(phases, field.counts, IONS, INSTRUMENT)
    assert binder.hydrocarbon == pytest.approx(0.33, abs=0.02)
    assert binder.measured.mean == pytest.approx(0.97 * 1.23 + binder.around, abs=0.06)
    assert binder.aluminium.low - 0.04 <= 0.9 <= binder.aluminium.high + 0.04  # the tail's 3 % of itself
    assert binder.hydrocarbon_share == pytest.approx(0.33 / 1.23, abs=0.05)
    off = INSTRUMENT.model_copy(update={"sector": INSTRUMENT.sector.model_copy(update={"hydrocarbon_on_al": False})})
    assert binder_aluminium(phases, field.counts, IONS, off).hydrocarbon == 0.0


def test_a_line_adds_up_counts():
    counts = np.zeros((2, 20, 30))
    counts[0, :, 10] = 4.0
    counts[1] = 9.0
    line = line_profile(counts, (10, 5), (10, 15), 5, pixel_um=0.1)
    np.testing.assert_allclose(line.distance_um, np.arange(11) * 0.1)
    np.testing.assert_allclose(line.mean[0], np.where(np.arange(11) == 5, 4.0, 0.0))
    np.testing.assert_allclose(line.sigma[1], np.sqrt(9.0 / 5))
    assert line.as_rows(("a", "b"))[5]["a"] == 4.0
    with pytest.raises(ValueError, match="end_px"):
        line_profile(counts, (10, 5), (10, 30), 5, pixel_um=0.1)
    with pytest.raises(ValueError, match="width_px"):
        line_profile(counts[0], (10, 5), (10, 15), 0, pixel_um=0.1)


def test_a_line_runs_across_the_grain_boundary(field, phases):
    line = boundary_profiles(phases, field.counts)[0]
    (r0, c0), (r1, c1) = line.start_px, line.end_px
    assert abs(r1 - r0) < 0.3 * abs(c1 - c0)  # the boundary runs along the rows' direction
    assert 0.5 * (c0 + c1) == pytest.approx(118, abs=2)
    aluminium = line.mean[CHANNELS.index("27Al")]
    assert abs(int(aluminium.argmax()) - len(aluminium) // 2) <= 2
    assert aluminium.max() > 2 * np.median(aluminium)


def test_the_figure_of_phases(field, tmp_path):
    """Without a CT volume: the map alone, as an unregistered one would be."""
    raster = Raster((SIDE, SIDE), SIDE * PIXEL_UM, 1e3 * DWELL_S)
    found = analyse(field.counts[None], CHANNELS, raster, current_pa=50.0, instrument=INSTRUMENT)
    figure = phases_figure(found, raster)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    shares = [100 * float((found.codes == phase).mean()) for phase in Phase]
    assert legend == [f"{phase.words} {share:.1f} %" for phase, share in zip(Phase, shares, strict=True)]
    names = {text.get_text().split(": ")[1] for text in figure.axes[0].texts if ":" in text.get_text()}
    assert names == {"LCO 100 %", "NCA 100 %"}
    pixels = imread(drawing.save(figure, tmp_path / "phases.png", dpi=60))
    assert pixels[..., :3].std() > 0.05
    with pytest.raises(ValueError, match="raster"):
        analyse(field.counts, CHANNELS, Raster((8, 8), 8.0, 0.55), current_pa=50.0, instrument=INSTRUMENT)


def test_refused_arguments(field):
    with pytest.raises(ValueError, match="58Ni"):
        PhaseModel(field.counts[:2], CHANNELS[:2], pixel_um=0.1, dwell_s=1e-3, instrument=INSTRUMENT)
    with pytest.raises(ValueError, match="active"):
        field.model(active=np.ones((3, 3)))
    with pytest.raises(ValueError, match="too few"):
        PhaseModel(np.zeros((4, 20, 20)), CHANNELS, pixel_um=0.1, dwell_s=1e-3, instrument=INSTRUMENT)
