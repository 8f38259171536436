"""The command report: one experiment as one HTML page, from what its data root holds."""

from __future__ import annotations

import re
import time
from pathlib import Path

from recon.kernels.progress import Progress
from xrm_sims.app.common.html import render
from xrm_sims.app.report import sections
from xrm_sims.app.report.holdings import Holdings, Map, Scan, open_holdings
from xrm_sims.app.report.sections import Section
from xrm_sims.app.tomography.tomogram import Tomogram
from xrm_sims.exchange.writing import atomic_path
from xrm_sims.scan_type import ScanType


def write_report(
    experiment: str,
    data: Path | None,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = lambda stage, share: None,
) -> Path:
    """Write the page of an experiment and return its path.

    Parameters
    ----------
    experiment : uid of an experiment or of any of its runs, or its first five characters or more; "latest".
    out : the file, by default ``report-<uid>.html`` in this folder.
    overwrite : whether to replace a file of that name.
    progress : called with the stage and its finished share.

    Raises ValueError for an unknown experiment, for one without anything to show, and when the file exists;
    RuntimeError when writing fails. No incomplete file remains.
    """
    held = open_holdings(experiment, data)
    path = Path(f"report-{re.sub(r'[^0-9A-Za-z_]', '_', held.uid[:8])}.html") if out is None else out
    if path.is_dir():
        raise ValueError(f"--out: {path} is a folder; name a file, such as {path / 'report.html'}")
    with atomic_path(path, overwrite=overwrite) as beside:
        beside.write_text(page(held, progress), encoding="utf-8")
    return path


def page(held: Holdings, progress: Progress = lambda stage, share: None) -> str:
    """Return the page as text."""
    rasters, tomograms = held.first_parts(ScanType.SIMS_RASTER), held.first_parts(ScanType.TOMOGRAPHY)
    steps = len(rasters) + 2 * len(tomograms) + 1
    done = iter(range(1, steps + 1))
    maps = []
    for run in rasters:
        maps.append(held.map(run))
        progress("report", next(done) / steps)
    for kind, runs in (("nanoCT scan", tomograms), ("SIMS map", rasters)):
        if not runs:
            held.missing.append(f"The experiment has no {kind}.")
    body: list[Section | None] = [sections.timeline(held)]
    for run in tomograms:
        scan = held.scan(run)  # one volume in memory at a time
        progress("report", next(done) / steps)
        own = [each for each in maps if each.tomography_uid == run.uid]
        body += _of_scan(held, scan, own)
        for each in own:
            body += _of_map(held, each, scan.tomogram)
        progress("report", next(done) / steps)
    for each in maps:
        if each.tomography_uid is None:
            body += _of_map(held, each, None)
    body += [sections.settings(held), sections.versions(held), sections.runs(held)]
    progress("report", 1.0)
    title = f"{held.sample}: {held.run_names} of {held.day}"
    drawn = [section for section in body if section is not None]
    return render("report/report.html.j2", title=title, held=held, maps=maps, sections=drawn, written_s=time.time())


def _of_scan(held: Holdings, scan: Scan, maps: list[Map]) -> list[Section | None]:
    makers = {
        "volume": lambda: sections.volume(scan, maps),
        "ROIs": lambda: sections.rois(scan, maps),
        "drift": lambda: sections.drift(scan),
    }
    return [held.attempt(f"{name} of {scan.run.short}", make) for name, make in makers.items()]


def _of_map(held: Holdings, each: Map, tomogram: Tomogram | None) -> list[Section | None]:
    makers = {
        "registration": lambda: sections.registration(each, tomogram),
        "overlay": lambda: sections.overlay(each, tomogram),
        "counts": lambda: sections.counts(each),
        "phases": lambda: sections.phases(each),
    }
    drawn = [held.attempt(f"{name} of {each.run.short}", make) for name, make in makers.items()]
    return drawn + (
        held.attempt(f"EDS maps of {each.run.short}", lambda: sections.elements(held, each, tomogram)) or []
    )
