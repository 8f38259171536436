"""Figure of smallest pore, edge width and noise of tomograms against their duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from xrm_sims.app.planner.predict import Planner, Prediction, TomogramPrediction, views_for
from xrm_sims.app.planner.protocols import Protocol, full_turn
from xrm_sims.correlate.figures.drawing import caption, new_figure

HOURS = (0.3, 70.0)
POINTS = 15
BINNINGS = (1, 2, 4)
COLOURS = ("#1f4e79", "#c55a11", "#548235")


def curve(planner: Planner, base: Protocol, binning: int) -> list[TomogramPrediction]:
    """Predict tomograms of one pixel size, with enough views and longer and longer exposures."""
    settings = planner.settings
    one = replace(base, scan=full_turn(base.scan.num, 1.0, binning, base.scan.target))
    num = views_for(planner.blur(one).edge_width_um(), settings.specimen.diameter_um)
    exposures_s = np.geomspace(*HOURS, POINTS) * 3600 / (1.05 * num)  # flats, darks and references take a twentieth
    return [
        planner.tomogram(replace(one, scan=full_turn(num, float(t), binning, base.scan.target))) for t in exposures_s
    ]


def protocols_figure(planner: Planner, predictions: Sequence[Prediction]) -> Figure:
    """Plot curves for several pixel sizes, and the protocols as numbered points."""
    figure = new_figure(10.0, 4.2)
    sizes, noise = figure.subplots(1, 2)
    for binning, colour in zip(BINNINGS, COLOURS, strict=True):
        tomograms = curve(planner, predictions[0].protocol, binning)
        hours = [each.time_s / 3600 for each in tomograms]
        label = f"{1e3 * tomograms[0].voxel_um:.0f} nm pixels"
        sizes.plot(hours, [1e3 * each.pore_um for each in tomograms], color=colour, label=f"{label}: smallest pore")
        sizes.plot(
            hours, [1e3 * each.edge_um for each in tomograms], color=colour, ls="--", label=f"{label}: edge width"
        )
        noise.plot(hours, [100 * each.noise for each in tomograms], color=colour, label=label)
    for number, each in enumerate(predictions, 1):
        ct = each.ct
        for axes, height in ((sizes, 1e3 * ct.pore_um), (noise, 100 * ct.noise)):
            axes.plot(ct.time_s / 3600, height, "o", color="black", ms=4, zorder=5)
            axes.annotate(
                str(number), (ct.time_s / 3600, height), textcoords="offset points", xytext=(4, 4), fontsize=8
            )
    sizes.set(xscale="log", xlabel="time of the tomogram (h)", ylabel="nm")
    noise.set(xscale="log", yscale="log", xlabel="time of the tomogram (h)", ylabel="noise of a voxel (%)")
    for axes in (sizes, noise):
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both", lw=0.4)
        axes.legend(fontsize=7, loc="upper right")
    caption(sizes, "a", "smallest pore and edge width")
    caption(noise, "b", "noise over the grey value of active material")
    names = ", ".join(f"{number} {each.protocol.name}" for number, each in enumerate(predictions, 1))
    figure.supxlabel(names, fontsize=7)
    return figure
