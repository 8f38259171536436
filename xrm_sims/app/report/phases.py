"""What the report says of a map's phases and particles."""

from __future__ import annotations

from xrm_sims.app.common.html import Element, Node, element, table
from xrm_sims.app.common.rasters import raster_of
from xrm_sims.app.report.holdings import Map
from xrm_sims.app.report.sections import facts, section, shown
from xrm_sims.correlate.figures.phase_figures import phases_figure
from xrm_sims.correlate.phases.particles import Particle
from xrm_sims.correlate.phases.phase_statistics import Mean


def phases(each: Map) -> Element | None:
    """Which material is where, how surely, which particles there are, and what each phase counts."""
    if each.phases is None or each.sims is None:
        return None
    found = each.phases
    b = found.binder
    binder: dict[str, Node] = {
        "Measured": f"{b.measured} counts per pixel on mass 27 in {b.pixels} pixels well inside binder",
        "From around": f"{b.around:.3f}: the beam's tail, what lands again, dark counts",
        "C2H3": f"{b.hydrocarbon:.3f} pass the slit by the settings, {100 * b.hydrocarbon_share:.0f} % of the rest",
        "Aluminium": f"{b.aluminium}",
    }
    means = [
        (row.phase, row.channel, f"{100 * row.share:.1f} %", f"{row.pixels}", f"{Mean(row.mean, row.low, row.high)}")
        for row in found.statistics
        if row.pixels
    ]
    nodes: list[Node] = [
        shown(
            phases_figure(found, raster_of(each.sims[1])),
            "Phases and particles over the field of the SIMS map, their probability, the mean counts of each phase, "
            "and counts across a grain boundary",
            "From the counts of all channels and the CT slice at the exposed plane; probabilities are those of a "
            "mixture fitted to this map.",
        ),
        table(
            ("Particle", "in CT", "Area (µm²)", "P(LCO)", "P(NCA)", "P(neither)", "Ni counts", "Co counts", "Remark"),
            [_particle(particle) for particle in found.particles],
        ),
        table(("Phase", "Isotope", "Of the field", "Pixels inside", "Counts per pixel (95 %)"), means),
    ]
    if b.pixels:
        nodes += [element("h3", "Aluminium in binder"), facts(binder)]
    return section(f"phases-{each.run.uid[:8]}", "Phases", *nodes)


def _particle(p: Particle) -> list[Node]:
    chances = (f"{chance:.3f}" for chance in (p.p_lco, p.p_nca, p.p_neither))
    nickel = f"{p.nickel} ({p.nickel_low:.0f} to {p.nickel_high:.0f})"
    cobalt = f"{p.cobalt} ({p.cobalt_low:.0f} to {p.cobalt_high:.0f})"
    return [str(p.number), str(p.ct_label or ""), f"{p.area_um2:.2f}", *chances, nickel, cobalt, p.remark]
