"""Rasters of the twin without its instrument: frames of a specimen at known places, and how they were counted."""

from copy import deepcopy
from functools import cache

import numpy as np

from xrm_sims.correlate.maps.counting import Counters
from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings, Specimen, SurfaceGrid
from xrm_sims.twin import ions, sector
from xrm_sims.twin.surface import Surface

LITHIUM = ("6Li", "7Li", "27Al", "59Co")
SETTINGS = Settings(surface=SurfaceGrid(width_um=16.0, pitch_um=0.1))
NATURAL = SETTINGS.sector.natural_6li_per_7li
RASTER = Raster((64, 64), 8.0, 0.55)


def with_enriched(*spheres_um, share):
    specimen = Specimen(enriched_um=spheres_um, enriched_6li_share=share)
    return SETTINGS.model_copy(update={"specimen": specimen})


def counters(labels=LITHIUM, dwell_ms=RASTER.dwell_ms, **changes):
    s = SETTINGS.sector
    told = {"dead_time_s": np.full(len(labels), 1e-9 * s.dead_time_ns), "dark_rate_cps": np.full(4, s.dark_rate_cps)}
    return Counters(labels, 1e-3 * dwell_ms, **(told | changes))


def analyser(settings=SETTINGS, labels=LITHIUM):
    s = settings.sector
    return ions.Analyser(s.bias_v, s.extraction_v, s.field_t, sector.collector_radii(labels, settings))


def scan(at_um=(0.0, 0.0), raster=RASTER):
    return ions.Scan(raster, np.column_stack([np.eye(2), at_um]), 50.0)


@cache
def _fresh(specimen):
    return Surface.fresh(specimen, SETTINGS)


def settled(specimen):
    """A surface that nobody has dug into, but that holds its gallium."""
    surface = deepcopy(_fresh(specimen))
    surface.eroded_um[:] = 1.0
    return surface


def frame(specimen, surface, seed, *, settings=SETTINGS, **where):
    """Raw counts (channel, row, column) of one frame, which lowers the surface."""
    rng = np.random.default_rng(seed)
    return ions.raster_frame(specimen, surface, scan(**where), analyser(settings), settings=settings, rng=rng)


def expected(specimen, surface, seed, *, settings=SETTINGS, **where):
    """Mean ions of the frame that :func:`frame` would take of this surface, before the counters."""
    rng = np.random.default_rng(seed)
    return ions.expected_counts(specimen, surface, scan(**where), analyser(settings), settings=settings, rng=rng)
