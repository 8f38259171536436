"""The command report: one experiment as one HTML page that needs nothing else, from what its data root holds."""

from __future__ import annotations

import re
import time
from pathlib import Path

from plans.preflight import duration
from xrm_sims.app.common.html import Element, Node, document, element
from xrm_sims.app.report import sections
from xrm_sims.app.report.elements import elements
from xrm_sims.app.report.holdings import Holdings, Map, Scan, open_holdings
from xrm_sims.app.report.phases import phases
from xrm_sims.app.report.slices import SCRIPT
from xrm_sims.app.report.slices import STYLE as SLICES_STYLE
from xrm_sims.app.tomography.tomogram import Tomogram
from xrm_sims.exchange.writing import Progress, appearing
from xrm_sims.scan_type import ScanType

_STYLE = """
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none } a { color: inherit }
a code { white-space: nowrap }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) } figure img { background: #fff }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem } dt { color: var(--faint) }
dd { margin: 0 } pre { overflow-x: auto; font-size: 85% } summary { cursor: pointer; padding: .3rem 0 }
.timeline svg { min-width: 40rem; width: 100%; fill: currentColor; stroke: none; font-size: 15px }
.timeline rect { fill: #0a84ff } .timeline line { stroke: var(--faint) }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5rem } }
"""


def write_report(
    experiment: str,
    data: Path | None,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = lambda stage, share: None,
) -> Path:
    """The command: the page about an experiment; its path.

    Parameters
    ----------
    experiment : uid of an experiment or of any run of it, or the first five characters or more; "latest".
    out : the file, by default ``report-<uid>.html`` in this folder.
    overwrite : whether a file of that name is replaced.
    progress : called with the stage and the finished share of it.

    Raises ValueError in one sentence for an unknown experiment, for one of which there is nothing to show yet, and for
    a name that is taken; RuntimeError when writing fails, with nothing left under that name.
    """
    held = open_holdings(experiment, data)
    path = Path(f"report-{re.sub(r'[^0-9A-Za-z_]', '_', held.uid[:8])}.html") if out is None else out
    if path.is_dir():
        raise ValueError(f"--out: {path} is a folder; name a file, such as {path / 'report.html'}")
    with appearing(path, overwrite=overwrite) as beside:
        beside.write_text(page(held, progress), encoding="utf-8")
    return path


def page(held: Holdings, progress: Progress = lambda stage, share: None) -> str:
    """The page as text."""
    rasters, tomograms = held.first_parts(ScanType.SIMS_RASTER), held.first_parts(ScanType.TOMOGRAPHY)
    steps, maps = len(rasters) + 2 * len(tomograms) + 1, []
    for n, run in enumerate(rasters, start=1):
        maps.append(held.map(run))
        progress("report", n / steps)
    for kind, runs in (("nanoCT scan", tomograms), ("SIMS map", rasters)):
        if not runs:
            held.missing.append(f"no {kind} was taken in this experiment")
    body: list[Element | None] = [sections.timeline(held)]
    for n, run in enumerate(tomograms):
        scan = held.scan(run)  # one volume in memory at a time
        progress("report", (len(rasters) + 2 * n + 1) / steps)
        own = [each for each in maps if each.tomography_uid == run.uid]
        body += _of_scan(held, scan, own)
        for each in own:
            body += _of_map(held, each, scan.tomogram)
        progress("report", (len(rasters) + 2 * n + 2) / steps)
    for each in maps:
        if each.tomography_uid is None:
            body += _of_map(held, each, None)
    body += [sections.settings(held), sections.versions(held), sections.uids(held)]
    drawn = [part for part in body if part is not None]
    progress("report", 1.0)
    title = f"{held.sample}: {held.measured} of {held.day}"
    header = [
        element("h1", title),
        _in_short(held, maps),
        *([_missing(held.missing)] if held.missing else []),
        element("nav", element("ul", *(_link(part) for part in drawn)), aria_label="Contents"),
    ]
    return document(
        title, element("header", *header), element("main", *drawn), style=_STYLE + SLICES_STYLE, script=SCRIPT
    )


def _of_scan(held: Holdings, scan: Scan, maps: list[Map]) -> list[Element | None]:
    short = scan.run.uid[:8]
    return [
        held.attempt(f"volume of {short}", lambda: sections.volume(scan, maps)),
        held.attempt(f"ROIs of {short}", lambda: sections.rois(scan, maps)),
        held.attempt(f"drift of {short}", lambda: sections.drift(scan)),
    ]


def _of_map(held: Holdings, each: Map, tomogram: Tomogram | None) -> list[Element | None]:
    short = each.run.uid[:8]
    return [
        held.attempt(f"registration of {short}", lambda: sections.registration(each, tomogram)),
        held.attempt(f"overlay of {short}", lambda: sections.overlay(each, tomogram)),
        held.attempt(f"counts of {short}", lambda: sections.counts(each)),
        held.attempt(f"phases of {short}", lambda: phases(each)),
        *(held.attempt(f"elements beside {short}", lambda: elements(held, each, tomogram)) or []),
    ]


def _link(part: Element) -> Element:
    heading = part[0]
    return element("li", element("a", heading.text or "", href=f"#{heading.get('id')}"))


def _missing(sentences: list[str]) -> Element:
    return element("aside", element("h2", "Not there"), element("ul", *(element("li", said) for said in sentences)))


def _in_short(held: Holdings, maps: list[Map]) -> Element:
    """The experiment in a few lines."""
    first, last = held.runs[0], held.runs[-1]
    span = [run.span_s for run in held.runs if run.span_s]
    told: dict[str, Node] = {
        "Experiment": element("code", held.uid),
        "Specimen": held.sample,
        "Operator": str(first.start.get("operator", "not told")),
        "Runs": f"{len(held.runs)}, from {_when(first.start['time'])} to {_when(last.stop.get('time'))}",
    }
    if span:
        told["Instrument time"] = duration(max(end for _, end in span) - min(begin for begin, _ in span))
    if dose := sum(run.specimen_dose_nc or 0.0 for run in held.runs):
        told["Ions on the specimen"] = f"{dose:.4g} nC"
    for each in maps:
        if each.registration is not None:
            told[f"Map {each.run.uid[:8]}"] = (
                f"registered with a residual of {each.registration.residual_nm:.0f} nm, "
                f"stated uncertainty {each.registration.sigma_nm:.0f} nm"
            )
    told["Written"] = f"{_when(time.time())} by xrm-sims report"
    return sections.facts(told)


def _when(at_s: float | None) -> str:
    return "…" if at_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
