"""Protocols side by side: in columns for the terminal, as Markdown, and in words what each loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from plans.preflight import duration
from xrm_sims.app.planner.outlook import Outlook, Planner
from xrm_sims.atomic_write import write_whole
from xrm_sims.correlate.figures.drawing import save
from xrm_sims.settings import Settings

NOTICEABLE = 1.02  # a ratio from which on it is a loss

Row = tuple[str, Callable[[Outlook], str]]


def rows(settings: Settings) -> list[Row]:
    """Label, and the figure of a protocol."""
    radius_um = 0.5 * settings.specimen.diameter_um

    def sampled(o: Outlook) -> str:
        return "the rim" if o.ct.sampled_um >= radius_um else f"{o.ct.sampled_um:.0f} um"

    def counts(o: Outlook) -> str:
        lco, nca = o.sims.counts["LCO"], o.sims.counts["NCA"]
        return f"{nca['7Li']:.0f}, {nca['27Al']:.2g}, {nca['58Ni']:.2g}, {lco['59Co']:.2g}"

    return [
        ("tomogram: views", lambda o: f"{o.protocol.scan.num} x {o.protocol.scan.exposure_s:.4g} s"),
        ("current, target", lambda o: f"{o.protocol.current_na:.4g} nA, {o.protocol.scan.target}"),
        ("pixel", lambda o: f"{1e3 * o.ct.voxel_um:.3g} nm"),
        ("time (views alone)", lambda o: f"{duration(o.ct.time_s)} ({duration(o.ct.projections_s)})"),
        ("counts open, behind pillar", lambda o: f"{o.ct.open_counts:.0f}, {o.ct.dark_counts:.0f}"),
        ("noise of a voxel", lambda o: f"{100 * o.ct.noise:.0f} %"),
        ("edge width", lambda o: f"{1e3 * o.ct.edge_um:.0f} nm"),
        ("smallest pore", lambda o: f"{1e3 * o.ct.pore_um:.0f} nm"),
        ("views are enough up to", sampled),
        ("drift to correct", lambda o: f"{o.ct.drift_um:.1f} um"),
        ("map: pixels", lambda o: f"{o.protocol.sims.raster.shape[0]}² x {o.protocol.sims.raster.dwell_ms:.3g} ms"),
        ("field, current", lambda o: f"{o.protocol.sims.raster.fov_um:.4g} um, {o.protocol.sims.current_pa:.4g} pA"),
        ("time", lambda o: duration(o.sims.time_s)),
        ("pixel, beam", lambda o: f"{o.sims.pixel_nm:.0f} nm, {o.sims.beam_nm:.0f} nm"),
        ("Li, Al, Ni of NCA, Co of LCO", counts),
        ("error of Ni/Co on 1 um² NCA", lambda o: f"{100 * o.sims.ratio_error:.2g} %"),
        ("eroded", lambda o: f"{o.sims.eroded_nm:.2g} nm"),
    ]


def lost(one: Outlook, paper: Outlook) -> str:
    """In a sentence, against the paper's protocol."""
    ct, usual, sims, as_usual = one.ct, paper.ct, one.sims, paper.sims
    said = []
    if ct.pore_um > NOTICEABLE * usual.pore_um:
        floor = ct.pore_um <= 2 * ct.voxel_um
        said.append(
            f"pores below {1e3 * ct.pore_um:.0f} nm {'fall between pixels' if floor else 'drown in the noise'} "
            f"({1e3 * usual.pore_um:.0f} nm)"
        )
    if ct.edge_um > NOTICEABLE * usual.edge_um:
        said.append(f"edges are {1e3 * ct.edge_um:.0f} nm wide ({1e3 * usual.edge_um:.0f} nm)")
    if ct.sampled_um < usual.sampled_um:
        said.append(f"beyond {ct.sampled_um:.0f} um from the axis the views are too few, fine detail turns to streaks")
    nickel, before = (o.counts["NCA"]["58Ni"] for o in (sims, as_usual))
    if nickel * NOTICEABLE < before:
        said.append(f"a pixel of the map has {nickel:.2g} counts of Ni ({before:.2g})")
    if sims.pixel_nm > NOTICEABLE * as_usual.pixel_nm:
        said.append(f"its pixels are {sims.pixel_nm:.0f} nm wide ({as_usual.pixel_nm:.0f} nm)")
    if sims.beam_nm > NOTICEABLE * as_usual.beam_nm:
        said.append(f"its beam is {sims.beam_nm:.0f} nm wide ({as_usual.beam_nm:.0f} nm)")
    if sims.eroded_nm > NOTICEABLE * as_usual.eroded_nm:
        said.append(f"it consumes {sims.eroded_nm:.2g} nm ({as_usual.eroded_nm:.2g} nm)")
    return "; ".join(said) or "nothing"


def verdict(one: Outlook, paper: Outlook) -> str:
    """How much faster, and what that costs; in brackets what the paper's protocol has."""
    return f"{one.protocol.name}: {paper.time_s / one.time_s:.2g} times as fast; lost: {lost(one, paper)}"


def text(outlooks: Sequence[Outlook], settings: Settings) -> str:
    """For the terminal; the first is the paper's."""
    labels = ["", *(label for label, _ in rows(settings))]
    columns = [labels] + [[o.protocol.name, *(figure(o) for _, figure in rows(settings))] for o in outlooks]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in zip(*columns, strict=True)
    ]
    lines += ["", *(verdict(o, outlooks[0]) for o in outlooks[1:])]
    return "\n".join(lines)


def markdown(outlooks: Sequence[Outlook], settings: Settings, picture: str) -> str:
    """The same as a page, with what to type for each protocol; ``picture`` is the name of the file beside it."""
    planning = settings.planning
    said = [
        "# Protocols side by side",
        "",
        "| | " + " | ".join(o.protocol.name for o in outlooks) + " |",
        "|---" * (len(outlooks) + 1) + "|",
        *(f"| {label} | " + " | ".join(figure(o) for o in outlooks) + " |" for label, figure in rows(settings)),
        "",
        *(f"- **{o.protocol.name}**: {verdict(o, outlooks[0]).split(': ', 1)[1]}" for o in outlooks[1:]),
        "",
        f"![smallest pore, edge width and noise against time]({picture})",
        "",
        "Tomograms are by filtered back projection that undoes the blur of its interpolation: all the detail that the "
        "data hold, and all the noise. Noise is the standard deviation of a voxel over the grey value of active "
        "material; the edge width is the direct half-maximum width of the line spread; the smallest pore has "
        f"{planning.visible_snr:g} times the noise of the matched filter that looks for it, and two pixels at least. "
        "Counts of the map are per pixel, on a flat surface.",
        "",
        "## What to type",
        "",
    ]
    for o in outlooks:
        said += [f"{o.protocol.name}:", "", "```", *o.protocol.commands(settings), "```", ""]
    return "\n".join(said)


def write(planner: Planner, outlooks: Sequence[Outlook], out: Path) -> list[Path]:
    """The page under the name that is given, and its picture beside it."""
    from xrm_sims.app.planner.picture import protocols_figure

    drawn = save(protocols_figure(planner, outlooks), out.with_suffix(".png"))
    return [write_whole(out, markdown(outlooks, planner.settings, drawn.name)), drawn]
