import numpy as np
import pytest

from tests.correlate.rasters import LITHIUM, NATURAL, RASTER, SETTINGS, counters, frame, settled, with_enriched
from tests.correlate.test_counting import pull_is_standard
from xrm_sims.correlate.maps.counting import Ions
from xrm_sims.correlate.maps.isotopes import channels_of, find_enriched, ratio_map, ratio_over
from xrm_sims.specimen.materials import Material

EVERYWHERE = np.ones(RASTER.shape, bool)


def lithium(specimen, seed, settings=SETTINGS):
    """6Li and 7Li of one frame of the twin, corrected."""
    ions = counters().ions(frame(specimen, settled(specimen), seed, settings=settings))
    return ions[LITHIUM.index("6Li")], ions[LITHIUM.index("7Li")]


def drawn(ratio, ions_per_pixel, rng):
    """Ideal counts of two isotopes with a ratio (row, column) to one another."""
    light, heavy = (rng.poisson(n).astype(float) for n in (ratio * ions_per_pixel, ions_per_pixel + 0 * ratio))
    return Ions(light, light), Ions(heavy, heavy)


def test_natural_lithium_within_its_stated_error(pillar):
    seeds = range(32)
    found = [ratio_over(*lithium(pillar, seed), EVERYWHERE) for seed in seeds]
    value, sigma = (np.array([getattr(one, name) for one in found]) for name in ("value", "sigma"))
    assert sigma.max() < 0.01 * NATURAL  # it is worth saying
    pull_is_standard((value - NATURAL) / sigma)


def test_blocks_of_a_map_scatter_as_their_errors_say(pillar):
    light, heavy = lithium(pillar, 5)
    found = ratio_map(light, heavy, EVERYWHERE, relative_error=0.05)
    blocks, first = np.unique(found.blocks, return_index=True)
    ratio, sigma = found.ratio.ravel()[first], found.sigma.ravel()[first]
    judged = (light.number.sum() > 0) & (sigma < 0.051 * NATURAL)
    assert judged.sum() > 100
    pull_is_standard(((ratio - NATURAL) / (sigma / ratio * NATURAL))[judged])
    # a block's value stands in each of its pixels, and all pixels with lithium have one
    assert len(blocks) == len(np.unique(found.ratio[np.isfinite(found.ratio)])) + np.isnan(ratio).sum()
    assert np.isfinite(found.ratio[heavy.number > 300]).all()


def test_a_mask_is_heeded_and_too_little_is_refused(pillar):
    light, heavy = lithium(pillar, 6)
    left = np.indices(RASTER.shape)[1] < 32
    half = ratio_over(light, heavy, left)
    assert half.heavy == pytest.approx(heavy.number[left].sum())
    assert np.isnan(ratio_map(light, heavy, left).ratio[~left]).all()
    nothing = Ions(np.zeros(RASTER.shape), np.zeros(RASTER.shape))
    with pytest.raises(ValueError, match=r"ratio: only 0.0 \+- 0.0 ions of the denominator over 4096 pixels"):
        ratio_over(light, nothing, EVERYWHERE)


def place_for(pillar, radius_um):
    """A place in the field where the pillar's top is active material as far as ``radius_um`` around."""
    at = np.arange(-2.5, 2.6, 0.25)
    disk = np.stack(np.meshgrid(*[np.linspace(-radius_um, radius_um, 9)] * 2), -1).reshape(-1, 2)
    for x in at:
        for y in at:
            points = np.column_stack([disk + np.array([x, y]), np.full(len(disk), pillar.settings.top_um - 0.02)])
            if np.isin(pillar.material_at(points), (Material.LCO, Material.NCA, Material.NCA_BOUNDARY)).all():
                return x, y
    raise AssertionError("no particle reaches the top of this pillar")


@pytest.mark.parametrize(("share", "radius_um"), [(0.5, 0.6), (0.12, 0.8), (0.02, 0.8)])
def test_a_planted_inclusion_is_found_and_nothing_else(pillar, share, radius_um):
    x, y = place_for(pillar, radius_um)
    settings = with_enriched((x, y, pillar.settings.top_um, radius_um), share=share)
    for seed in (1, 2):
        light, heavy = lithium(pillar, seed, settings)
        found = find_enriched(light, heavy, EVERYWHERE, RASTER)
        (region,) = found.regions
        assert region.kind == ("enriched" if share > 0.0759 else "depleted")
        assert (region.u_um, region.v_um) == pytest.approx((x, y), abs=2.5 * RASTER.pixel_um)
        assert region.area_um2 == pytest.approx(np.pi * radius_um**2, rel=0.35)
        assert region.p_value < 0.01
        # the beam's tail and the rim mix some of the rest in
        planted = share / (1 - share)
        assert abs(region.ratio - NATURAL) > 0.8 * abs(planted - NATURAL)
        assert abs(found.rest.value - NATURAL) < 4 * found.rest.sigma + 0.02 * NATURAL
        assert (found.numbers == 1).sum() == region.pixels


def test_nothing_is_found_where_nothing_was_planted(pillar):
    for seed in range(12):
        assert find_enriched(*lithium(pillar, seed), EVERYWHERE, RASTER).regions == []


def test_false_alarms_are_as_rare_as_stated():
    rng, fields, level = np.random.default_rng(7), 100, 0.05
    ions = rng.gamma(0.5, 400.0, RASTER.shape)  # some bright, some empty
    alarms = sum(
        bool(find_enriched(*drawn(np.full(RASTER.shape, NATURAL), ions, rng), EVERYWHERE, RASTER, level).regions)
        for _ in range(fields)
    )
    assert alarms <= fields * level + 3 * np.sqrt(fields * level)


def test_a_field_that_is_half_enriched_still_tells_the_halves_apart():
    rng = np.random.default_rng(2)
    ratio = np.where(np.indices(RASTER.shape)[1] < 26, 2 * NATURAL, NATURAL)
    found = find_enriched(*drawn(ratio, np.full(RASTER.shape, 300.0), rng), EVERYWHERE, RASTER)
    (region,) = found.regions
    assert region.kind == "enriched"
    assert region.pixels == pytest.approx(26 * 64, rel=0.1)
    assert abs(found.rest.value - NATURAL) < 5 * found.rest.sigma


@pytest.mark.parametrize("word", ["6Li", "6Li/", "/7Li", "6Li/7Li/8Li", "7Li/7Li", ""])
def test_what_is_no_ratio(word):
    with pytest.raises(ValueError, match="ratio: needs two channels with a slash between them, such as 6Li/7Li"):
        channels_of(word)


def test_the_names_of_a_ratio():
    assert channels_of(" 6Li / 7Li ") == ("6Li", "7Li")
