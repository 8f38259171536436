"""The sections of a report, each an HTML element from what was held of the experiment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plans.preflight import duration
from xrm_sims.app.common.html import Element, Node, element, picture, table
from xrm_sims.app.common.rasters import labels_of, raster_of
from xrm_sims.app.correlative import figures as correlative_figures
from xrm_sims.app.report.holdings import Holdings, Map, Scan
from xrm_sims.app.report.runs import PURPOSES, Run
from xrm_sims.app.report.slices import Field, slices
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.tomography import figures as tomogram_figures
from xrm_sims.app.tomography.tomogram import Tomogram
from xrm_sims.correlate.figures import map_figures
from xrm_sims.correlate.figures.drawing import as_png
from xrm_sims.correlate.maps.field_maps import channel_statistics
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.ranking import Roi
from xrm_sims.geometry import apply_affine
from xrm_sims.settings import Settings

DPI = 110
SHOWN_ROIS = 25  # the others are a click away
LONG = 12  # numbers of a list in a start document that are shown
ROI_HEAD = (
    *("ROI", "Kind", "x, y, z (µm)", "Depth (µm)", "Across (µm)", "Opening (µm)"),
    *("From the side (µm)", "Confidence", "Score", "Held back by the rule"),
)


def section(name: str, title: str, *nodes: Node) -> Element:
    """With an id that the page's contents point to."""
    return element("section", element("h2", title, id=name), *nodes)


def shown(figure: Figure, alt: str, caption: str) -> Element:
    return picture(as_png(figure, DPI), alt, caption)


def facts(pairs: Mapping[str, Node]) -> Element:
    """Names and values."""
    lines = [part for name, value in pairs.items() for part in (element("dt", name), element("dd", value))]
    return element("dl", *lines)


def timeline(held: Holdings) -> Element:
    """What was done when, how long it took, and which charge it brought where."""
    origin_s = min((run.span_s[0] for run in held.runs if run.span_s), default=0.0)
    rows = [_line(run, origin_s) for run in held.runs]
    failed = ["interrupted" if run.stop.get("exit_status") != "success" else None for run in held.runs]
    head = ("What", "In numbers", "Began", "Instrument time", "Took", "Dose", "Outcome", "Run")
    caption = "Instrument time counts from the first run's beginning; the wall clock is what the computer saw."
    return section(
        "timeline", "Timeline", _bars(held.runs, origin_s), table(head, rows, caption=caption, classes=failed)
    )


def _line(run: Run, origin_s: float) -> list[Node]:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.start["time"]))
    since, took = "not told", "not told"
    if run.span_s:
        since = f"at {duration(run.span_s[0] - origin_s)}"
        took = duration(run.span_s[1] - run.span_s[0])
    wall = "" if run.wall_s is None else f" ({duration(run.wall_s)} on the wall)"
    doses = []
    if run.target_charge_nc:
        doses.append(f"{run.target_charge_nc / 1e6:.3g} mC of electrons on the target")
    if run.specimen_dose_nc:
        doses.append(f"{run.specimen_dose_nc:.4g} nC of ions on the specimen")
    short = element("a", element("code", run.uid[:8]), href=f"#run-{run.uid}")
    return [run.name, run.what, began, since, f"{took}{wall}", "; ".join(doses) or "none", run.outcome, short]


def _bars(runs: Sequence[Run], origin_s: float) -> Element:
    """Runs over the instrument's time; what is too short for the scale is still a mark."""
    spans = [(run, run.span_s) for run in runs if run.span_s]
    if not spans:
        return element("p", "No run tells when it was on the instrument's clock.")
    last_s = max(span[1] for _, span in spans) - origin_s
    wide, high, left = 1000.0, 24.0, 190.0
    scale = (wide - left - 20) / max(last_s, 1e-9)
    marks = []
    for n, (run, (begin, end)) in enumerate(spans):
        y = n * high
        at, length = left + (begin - origin_s) * scale, max((end - begin) * scale, 4.0)
        marks.append(element("text", run.name, x=left - 10, y=y + 16, text_anchor="end"))
        marks.append(element("rect", x=f"{at:.1f}", y=y + 4, width=f"{length:.1f}", height=high - 8))
    y = len(spans) * high
    marks.append(element("line", x1=left, x2=wide - 20, y1=y + 4, y2=y + 4))
    marks.append(element("text", "0", x=left, y=y + 22))
    marks.append(element("text", duration(last_s), x=wide - 20, y=y + 22, text_anchor="end"))
    alt = "; ".join(
        f"{run.name}: {duration(begin - origin_s)} to {duration(end - origin_s)}" for run, (begin, end) in spans
    )
    drawing = element(
        "svg", *marks, viewBox=f"0 0 {wide:g} {y + 30:g}", role="img", aria_label=f"Runs over instrument time: {alt}"
    )
    return element("div", drawing, class_="wide timeline", tabindex="0")


def volume(scan: Scan, maps: Sequence[Map]) -> Element | None:
    """A tomography's volume, still and slice by slice; ``maps`` are those that lie in it."""
    if scan.tomogram is None:
        return None
    tomogram, short, chosen = scan.tomogram, scan.run.uid[:8], _chosen(maps)
    overview = tomogram_figures.overview(tomogram, scan.defects, scan.pillar, chosen, _top_view(maps))
    nz, ny, nx = tomogram.volume.shape
    fields = [field for each in maps if (field := _field(each)) is not None]
    numbers: dict[str, Node] = {
        "Volume": f"{nx} × {ny} × {nz} voxels (x, y, z) of {1e3 * tomogram.voxel_um:.0f} nm, attenuation in 1/µm",
        "Misfit per sweep": f"{', '.join(f'{r:.4f}' for r in tomogram.residuals)} (line integral, rms)",
        "Sharpness": _sharpness(scan),
    }
    return section(
        f"volume-{short}",
        f"The volume of run {short}",
        facts(numbers),
        shown(
            overview,
            f"Two horizontal and two vertical slices through the volume of run {short}, with "
            f"{len(scan.rois)} ROIs pointed at, beside views from the top and the side",
            "Slices H1, H2 across z and V1, V2 across y; the middle column says where they lie."
            + (" H2 and V2 go through the chosen ROI, which is ringed." if chosen else ""),
        ),
        slices(tomogram.volume, tomogram.voxel_um, scan.pillar, scan.defects, chosen, fields),
    )


def _chosen(maps: Sequence[Map]) -> Defect | None:
    return next((each.defect for each in maps if each.defect is not None), None)


def _top_view(maps: Sequence[Map]) -> tuple[tomogram_figures.Measured, NDArray[np.float64]] | None:
    """The pillar's SE image, and how its scan frame lies in the specimen's."""
    for each in maps:
        if each.top_view is not None and each.registration is not None:
            return each.top_view, each.registration.scan_to_specimen
    return None


def rois(scan: Scan, maps: Sequence[Map]) -> Element | None:
    """What was found in the volume, the best to mill to first."""
    if not scan.searched:
        return None
    chosen = _chosen(maps)
    nodes = _rois(scan.rois, None if chosen is None else chosen.label, scan.rule)
    return section(f"rois-{scan.run.uid[:8]}", "Regions of interest", *nodes)


def drift(scan: Scan) -> Element | None:
    """What was found in the projections and corrected."""
    if scan.tomogram is None:
        return None
    figure, short = tomogram_figures.drift(scan.tomogram), scan.run.uid[:8]
    if figure is None:
        drawn = element("p", "No drift was corrected, or nobody knows when each projection was taken.")
    else:
        drawn = shown(
            figure,
            f"Shift of each projection of run {short} in pixels, over instrument time and over rotation",
            "What was found in the projections and corrected before the reconstruction.",
        )
    return section(f"drift-{short}", "Drift and run-out", drawn)


def _sharpness(scan: Scan) -> str:
    said = []
    if edge := scan.figures.get("edge_resolution"):
        said.append(f"edge of the pillar {1e3 * edge['fwhm_um']:.0f} ± {1e3 * edge['sigma_um']:.0f} nm (FWHM)")
    if crossing := scan.figures.get("half_bit_crossing"):
        said.append(f"even and odd views agree down to {1e3 * crossing['resolution_um']:.0f} nm (half bit)")
    return "; ".join(said) or f"not measured; xrm-sims resolution {scan.run.uid[:8]}"


def _field(each: Map) -> Field | None:
    if each.registration is None or each.sims is None:
        return None
    rows, columns = each.sims[1]["shape"]
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) - 0.5
    return Field(apply_affine(each.registration.sims_to_specimen, corners), each.registration.exposed_z_um)


def _rois(rois: Sequence[Roi], chosen: int | None, rule: Mapping[str, Any]) -> Iterator[Node]:
    kinds = [roi.defect.kind for roi in rois]
    good = sum(roi.obstacle is None for roi in rois)
    taken = "" if chosen is None else f"; number {chosen} was milled to"
    yield element("p", f"{kinds.count('pore')} pores and {kinds.count('crack')} cracks, {good} within the rule{taken}.")
    if rois:
        yield table(ROI_HEAD, [_roi(roi, chosen) for roi in rois[:SHOWN_ROIS]], caption="The best to mill to first.")
    if rest := rois[SHOWN_ROIS:]:
        name = element("summary", f"The other {len(rest)}")
        yield element("details", name, table(ROI_HEAD, [_roi(roi, chosen) for roi in rest]))
    if rule:
        words = ", ".join(f"{name} = {json.dumps(value)}" for name, value in rule.items())
        yield element("details", element("summary", "The rule they were numbered by"), element("code", words))


def _roi(roi: Roi, chosen: int | None) -> list[Node]:
    d = roi.defect
    x, y, z = d.centre_um
    opening = f"{d.opening_um:.2f}" if d.kind == "crack" else ""
    number: Node = element("strong", f"{roi.number}, chosen") if roi.number == chosen else str(roi.number)
    return [
        *(number, d.kind, f"{x:.2f},\u00a0{y:.2f},\u00a0{z:.2f}", f"{d.depth_um:.2f}", f"{d.diameter_um:.2f}", opening),
        *(f"{d.edge_um:.1f}", f"{d.confidence:.2f}", f"{roi.score:.2f}", roi.obstacle or ""),
    ]


def overlay(each: Map, tomogram: Tomogram | None) -> Element | None:
    """CT, SE and SIMS in one field."""
    if tomogram is None or each.registration is None or each.sims is None:
        return None
    return section(
        f"overlay-{each.run.uid[:8]}",
        "Morphology and chemistry",
        shown(
            correlative_figures.overlay(tomogram, each.registration, each.sims, each.close_up, each.defect),
            "CT slice, SE image and SIMS counts in one field, with the ROI ringed in each",
            "One field: a the CT slice at the exposed plane, b secondary electrons, c to f secondary ions.",
        ),
    )


def counts(each: Map) -> Element | None:
    """Every channel with its scale, and its statistics."""
    if each.sims is None:
        return None
    frames, start = each.sims
    labels = labels_of(start)
    rows = [
        (s.label, f"{s.total:,}", f"{s.mean:.4f} ± {s.standard_error:.4f}", f"{s.percentile_99:.0f}", str(s.maximum))
        for s in channel_statistics(frames, labels)
    ]
    return section(
        f"counts-{each.run.uid[:8]}",
        f"SIMS map {each.run.uid[:8]}",
        element("p", each.run.what),
        shown(
            map_figures.channels_figure(frames, labels, raster_of(start)),
            f"Maps of {', '.join(labels)}, each with its scale in counts per pixel",
            "Raw counts, summed over frames; each map has its own scale, which ends at its 99.8th percentile.",
        ),
        table(("Isotope", "Counts", "Mean per pixel", "99th percentile", "Most in a pixel"), rows),
    )


def registration(each: Map, tomogram: Tomogram | None) -> Element | None:
    """How the map lies in the volume, and how well that is known."""
    if each.registration is None or each.sims is None:
        return None
    r = each.registration
    rival = f"{r.lead:.3f} ahead of the next other place" if r.lead < r.score else "no other place was in the running"
    numbers: dict[str, Node] = {
        "Residual": f"{r.residual_nm:.0f} nm: registrations from two halves of the field disagree by so much (rms)",
        "Stated uncertainty": f"{r.sigma_nm:.0f} nm (standard, rms over the field's four corners)",
        "Exposed plane": f"z = {r.exposed_z_um:.3f} ± {r.sigma_z_um:.3f} µm in the specimen frame",
        "Likeness": f"correlation {r.score:.3f}, {rival}",
        "Rotation, scale": f"{r.rotation_deg:+.3f}°, {r.scale:.5f}",
    }
    if each.defect is not None:
        off_nm = 1e3 * (r.exposed_z_um - each.defect.centre_um[2])
        numbers["Aim"] = f"ROI {each.defect.label}; the exposed plane lies {off_nm:+.0f} nm from its centre in z"
    drawn = []
    if tomogram is not None:
        drawn.append(
            shown(
                correlative_figures.registered(tomogram, r, each.sims),
                "Outline of the active material in the CT slice, drawn on the SIMS map and on the slice itself",
                "The same outline of active material, from the CT, on both.",
            )
        )
    chain = [
        (link["of"], link["to"], link["by"], element("code", str(link["run"])[:8]), f"{link['sigma_nm']:,.0f} nm")
        for link in each.links
    ]
    links = [table(("From", "To", "By", "Run", "Standard uncertainty"), chain)] if chain else []
    return section(f"registration-{each.run.uid[:8]}", "Registration of SIMS and CT", facts(numbers), *links, *drawn)


def settings(held: Holdings) -> Element:
    """What of the instrument's settings differs from the defaults, and what each run was asked for."""
    nodes: list[Node] = []
    try:
        now = session_settings(held.data).model_dump(mode="json")
        changed = list(_differing(now, Settings().model_dump(mode="json")))
        head = ("Setting", "This instrument", "Default")
        nodes.append(element("p", "As the data root holds them now; what is not named has its default."))
        nodes.append(table(head, changed) if changed else element("p", "Every setting has its default."))
    except ValueError as error:
        nodes.append(element("p", f"The settings cannot be read: {error}"))
    for run in held.runs:
        asked = json.dumps(_short(run.start), indent=1, ensure_ascii=False)
        name = element("summary", f"{run.name} {run.uid[:8]}: its start document")
        nodes.append(element("details", name, element("pre", asked)))
    return section("settings", "Settings", *nodes)


def _differing(now: Mapping[str, Any], default: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    for name, value in now.items():
        if isinstance(value, dict):
            yield from _differing(value, default[name], f"{above}{name}.")
        elif value != default[name]:
            yield f"{above}{name}", json.dumps(value), json.dumps(default[name])


def _short(value: Any) -> Any:
    """A document without its long lists."""
    if isinstance(value, Mapping):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value[:LONG]] + ([f"… {len(value)} in all"] if len(value) > LONG else [])
    return value


def versions(held: Holdings) -> Element:
    """Which software measured and which computed."""
    measured = [dict(run.start.get("versions", {})) for run in held.runs]
    computed = [dict(about.get("versions", {})) for about in held.results]
    names = sorted({name for told in (*measured, *computed) for name in told})
    rows = [(name, _all(name, measured), _all(name, computed)) for name in names]
    if not rows:
        return section("versions", "Software", element("p", "Neither runs nor results tell their versions."))
    return section("versions", "Software", table(("Package", "Measured with", "Computed with"), rows))


def _all(name: str, told: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({str(each[name]) for each in told if name in each}))


def uids(held: Holdings) -> Element:
    """Every run and every result by its whole name, and what it is."""
    runs = []
    for run in held.runs:
        links = [
            f"{words} {', '.join(str(uid)[:8] for uid in told)}"
            for words, told in (
                ("rests on", run.start.get("parent_uids", [])),
                ("goes on with", [run.start["resumes_uid"]] if "resumes_uid" in run.start else []),
            )
            if told
        ]
        purpose = PURPOSES.get(run.kind, f"plan {run.start.get('plan_name', 'of unknown name')}")
        said = "; ".join([f"{run.name}: {purpose}", *links])
        runs.append(element("li", element("code", run.uid, id=f"run-{run.uid}"), f" {said}"))
    kept = [
        (f"/results/{about['run_uid']}/{about['kind']}", time.strftime("%Y-%m-%d %H:%M", time.localtime(about["time"])))
        for about in held.results
        if {"run_uid", "kind", "time"} <= set(about)
    ]
    lead = element(
        "p", "In the data root: ", element("code", str(held.data)), ". xrm-sims serve shows them in a browser."
    )
    nodes: list[Node] = [lead, element("ul", *runs)]
    if kept:
        nodes.append(table(("Result", "Computed"), [(element("code", name), when) for name, when in kept]))
    return section("runs", "Runs and results", *nodes)
