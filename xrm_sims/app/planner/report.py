"""Compare protocols: a table for the terminal or as Markdown, and sentences on what each one loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from plans.preflight import duration
from xrm_sims.app.planner.predict import Planner, Prediction
from xrm_sims.atomic_write import write_whole
from xrm_sims.correlate.figures.drawing import save
from xrm_sims.settings import Settings

NOTICEABLE = 1.02  # a smaller ratio to the paper's figure is no loss

Row = tuple[str, Callable[[Prediction], str]]


def rows(settings: Settings) -> list[Row]:
    """Return the rows of the table: a label, and a function that returns a protocol's figure."""
    radius_um = 0.5 * settings.specimen.diameter_um

    def sampled(o: Prediction) -> str:
        return "the rim" if o.ct.sampled_um >= radius_um else f"{o.ct.sampled_um:.0f} um"

    def counts(o: Prediction) -> str:
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


def lost(one: Prediction, paper: Prediction) -> str:
    """Return in a sentence what a protocol loses against the paper's."""
    ct, sims, usual, as_usual = one.ct, one.sims, paper.ct, paper.sims
    nickel, paper_nickel = (o.counts["NCA"]["58Ni"] for o in (sims, as_usual))
    reason = "are smaller than two pixels" if ct.pore_um <= 2 * ct.voxel_um else "are hidden by noise"
    compared = [
        (ct.pore_um / usual.pore_um, f"pores below {1e3 * ct.pore_um:.0f} nm {reason} ({1e3 * usual.pore_um:.0f} nm)"),
        (ct.edge_um / usual.edge_um, f"edges are {1e3 * ct.edge_um:.0f} nm wide ({1e3 * usual.edge_um:.0f} nm)"),
        (
            usual.sampled_um / ct.sampled_um,
            f"beyond {ct.sampled_um:.0f} um from the axis the views are too few and fine detail becomes streaks",
        ),
        (paper_nickel / nickel, f"a pixel of the map has {nickel:.2g} counts of Ni ({paper_nickel:.2g})"),
        (sims.pixel_nm / as_usual.pixel_nm, f"its pixels are {sims.pixel_nm:.0f} nm wide ({as_usual.pixel_nm:.0f} nm)"),
        (sims.beam_nm / as_usual.beam_nm, f"its beam is {sims.beam_nm:.0f} nm wide ({as_usual.beam_nm:.0f} nm)"),
        (sims.eroded_nm / as_usual.eroded_nm, f"it erodes {sims.eroded_nm:.2g} nm ({as_usual.eroded_nm:.2g} nm)"),
    ]
    return "; ".join(text for ratio, text in compared if ratio > NOTICEABLE) or "nothing"


def verdict(one: Prediction, paper: Prediction) -> str:
    """Return how much faster a protocol is and what it loses; the paper's figures are in brackets."""
    return f"{one.protocol.name}: {paper.time_s / one.time_s:.2g} times as fast; lost: {lost(one, paper)}"


def text(predictions: Sequence[Prediction], settings: Settings) -> str:
    """Return the comparison for the terminal; the first prediction is the paper's."""
    labels = ["", *(label for label, _ in rows(settings))]
    columns = [labels] + [[o.protocol.name, *(figure(o) for _, figure in rows(settings))] for o in predictions]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in zip(*columns, strict=True)
    ]
    lines += ["", *(verdict(o, predictions[0]) for o in predictions[1:])]
    return "\n".join(lines)


def markdown(predictions: Sequence[Prediction], settings: Settings, picture: str) -> str:
    """Return the comparison as a page with the commands of each protocol; ``picture`` is the figure's file name."""
    planning = settings.planning
    page = [
        "# Protocols side by side",
        "",
        "| | " + " | ".join(o.protocol.name for o in predictions) + " |",
        "|---" * (len(predictions) + 1) + "|",
        *(f"| {label} | " + " | ".join(figure(o) for o in predictions) + " |" for label, figure in rows(settings)),
        "",
        *(f"- **{o.protocol.name}**: {verdict(o, predictions[0]).split(': ', 1)[1]}" for o in predictions[1:]),
        "",
        f"![smallest pore, edge width and noise against time]({picture})",
        "",
        "Tomograms are by filtered back projection that compensates the blur of its interpolation: all the detail of "
        "the data, and all the noise. Noise is the standard deviation of a voxel over the grey value of active "
        "material; the edge width is the direct half-maximum width of the line spread; the smallest pore has "
        f"{planning.visible_snr:g} times the noise of its matched filter, and at least two pixels. "
        "Counts of the map are per pixel, on a flat surface.",
        "",
        "## Commands",
        "",
    ]
    for o in predictions:
        page += [f"{o.protocol.name}:", "", "```", *o.protocol.commands(settings), "```", ""]
    return "\n".join(page)


def write(planner: Planner, predictions: Sequence[Prediction], out: Path) -> list[Path]:
    """Write the page to ``out`` and its figure beside it."""
    from xrm_sims.app.planner.figure import protocols_figure

    drawn = save(protocols_figure(planner, predictions), out.with_suffix(".png"))
    return [write_whole(out, markdown(predictions, planner.settings, drawn.name)), drawn]
