"""Figure of a map's phases: phase and probability of each pixel, mean counts, a profile across a grain boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from xrm_sims.correlate.figures.drawing import (
    caption,
    colour_bar,
    image_in,
    new_figure,
    no_data,
    outline,
    panel,
    scale_bar,
)
from xrm_sims.correlate.figures.map_figures import field_extent, isotope
from xrm_sims.correlate.phases.chemistry import Chemistry
from xrm_sims.correlate.phases.particles import Particle
from xrm_sims.correlate.phases.phase_statistics import PhaseRow
from xrm_sims.correlate.phases.phases import CHANNELS, Phase
from xrm_sims.correlate.phases.profiles import LineProfile
from xrm_sims.patterns import Raster

# from Okabe and Ito's palette for colour-blind readers; they also differ in lightness
PHASE_COLOURS = {Phase.PORE: "#000000", Phase.BINDER: "#009e73", Phase.LCO: "#d55e00", Phase.NCA: "#f0e442"}
CHANNEL_COLOURS = dict(zip(CHANNELS, ("#009e73", "#0072b2", "#cc79a7", "#d55e00"), strict=True))
NAME_SHARE = 0.1  # half of the width of a name, as a share of the field
NAMED_UM2 = 0.8  # smaller particles have no room for a name


def phases_figure(found: Chemistry, raster: Raster) -> Figure:
    """Draw phases with their particles, their probability, mean counts with 95 % intervals, and a grain boundary."""
    figure = new_figure(10.2, 8.6)
    grid = figure.subplots(2, 2)
    _phases(grid[0, 0], found, raster)
    certainty, extent = found.probabilities.max(axis=0), field_extent(raster)
    drawn = panel(grid[0, 1], "b", "probability of the phase shown", certainty, extent, "viridis", (0.25, 1.0))
    colour_bar(drawn, grid[0, 1])
    _means(grid[1, 0], found.statistics)
    _boundary(grid[1, 1], found.profiles)
    b = found.binder
    if b.pixels:
        figure.suptitle(
            f"Al in binder: {b.aluminium} counts per pixel without C$_2$H$_3$, which gives {b.hydrocarbon:.3f}; "
            f"{b.measured} with all that passes the slit (95 %)",
            fontsize=9,
        )
    return figure


def _phases(axes: Axes, found: Chemistry, raster: Raster) -> None:
    extent, codes = field_extent(raster), found.codes
    image_in(axes, codes, extent, ListedColormap([PHASE_COLOURS[p] for p in Phase]), (-0.5, len(Phase) - 0.5))
    caption(axes, "a", "phases and particles, from SIMS and CT")
    for particle, (u, v) in zip(found.particles, _middles(found.particle_labels, len(found.particles)), strict=True):
        if particle.area_um2 >= NAMED_UM2:
            rim_um = NAME_SHARE * raster.fov_um  # a name so far inside is not cut off
            u_um = extent[0] + np.clip((u + 0.5) * raster.pixel_um, rim_um, raster.fov_um - rim_um)
            place = (u_um, extent[2] + (v + 0.5) * raster.pixel_um)
            axes.text(
                *place, _name(particle), fontsize=6.5, color="white", ha="center", va="center", zorder=6,
                path_effects=outline(), clip_on=True,
            )  # fmt: skip
    if found.particle_labels.any():
        edges = _edges(found.particle_labels)
        axes.imshow(
            np.where(edges, 1.0, np.nan), origin="lower", extent=extent, cmap="gray_r", vmin=0, vmax=1,
            interpolation="nearest",
        )  # fmt: skip
    patches = [
        Patch(fc=PHASE_COLOURS[p], ec="0.4", label=f"{p.words} {100 * float((codes == p).mean()):.1f} %") for p in Phase
    ]
    axes.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=len(Phase), fontsize=7, frameon=False
    )
    scale_bar(axes)


def _name(particle: Particle) -> str:
    chance = {"LCO": particle.p_lco, "NCA": particle.p_nca, "?": particle.p_neither}
    best = max(chance, key=lambda name: chance[name])
    return f"{particle.number}: {best} {100 * chance[best]:.0f} %"


def _middles(labels: NDArray[np.int32], count: int) -> list[tuple[float, float]]:
    """Return the mean (column, row) of each particle."""
    size = np.maximum(np.bincount(labels.ravel(), minlength=count + 1)[1:], 1)
    r, c = (
        np.bincount(labels.ravel(), index.ravel(), minlength=count + 1)[1:] / size for index in np.indices(labels.shape)
    )
    return list(zip(c.tolist(), r.tolist(), strict=True))


def _edges(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels where two particles touch."""
    edges = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        edges[here] |= (labels[here] != labels[there]) & (labels[here] > 0) & (labels[there] > 0)
    return edges


def _means(axes: Axes, rows: Sequence[PhaseRow]) -> None:
    """Plot counts per pixel of each channel, one marker for each phase."""
    for n, phase in enumerate(Phase):
        of_phase = [row for row in rows if row.phase == phase.words and row.pixels and row.mean > 0]
        place = [CHANNELS.index(row.channel) + 0.16 * (n - 1.5) for row in of_phase]
        mean = np.array([row.mean for row in of_phase])
        bars = np.abs([[row.mean - row.low for row in of_phase], [row.high - row.mean for row in of_phase]])
        axes.errorbar(
            place, mean, bars, fmt="o", ms=5, capsize=3, color="0.3", mfc=PHASE_COLOURS[phase], label=phase.words
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(CHANNELS)), [isotope(name) for name in CHANNELS])
    axes.set_ylabel("counts per pixel, 95 %", fontsize=8)
    axes.legend(fontsize=7)
    caption(axes, "c", "means well inside each phase")


def _boundary(axes: Axes, profiles: Sequence[LineProfile]) -> None:
    caption(axes, "d", "across a grain boundary of NCA")
    if not profiles:
        return no_data(axes, "no boundary stands out")
    line = profiles[0]
    for name, mean, sigma in zip(CHANNELS[1:], line.mean[1:], line.sigma[1:], strict=True):
        axes.errorbar(line.distance_um, mean, sigma, fmt=".-", lw=0.8, color=CHANNEL_COLOURS[name], label=isotope(name))
    (r0, c0), (r1, c1) = line.start_px, line.end_px
    axes.set(xlabel=f"µm from pixel ({r0:.0f}, {c0:.0f}) to ({r1:.0f}, {c1:.0f})", ylim=(0, None))
    axes.set_ylabel(f"counts per pixel, mean of {line.width_px}", fontsize=8)
    axes.legend(fontsize=7)
