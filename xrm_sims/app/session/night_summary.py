"""The morning summary: what was measured in the night, what failed and why, as Markdown and as one HTML page."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plans import Night, Outcome
from plans.preflight import duration
from xrm_sims.app.common.html import document, element, picture, table
from xrm_sims.atomic_write import write_whole

MARKDOWN, HTML = "summary.md", "summary.html"
_HEAD = ("Specimen", "Step", "Outcome", "Began", "On the wall", "Instrument", "Runs", "What came of it")


def write_summary(night: Night, folder: Path, pictures: Mapping[str, Sequence[Path]]) -> Path:
    """``summary.md`` and ``summary.html`` (pictures inside it) in the folder; the path of the page.

    ``pictures`` belong to runs, by uid.
    """
    write_whole(folder / MARKDOWN, _markdown(night, folder, pictures))
    return write_whole(folder / HTML, _page(night, pictures))


def verdict(night: Night) -> str:
    """The night in one sentence."""
    counts = [
        f"{night.count(status)} {status}"
        for status in ("done", "failed", "interrupted", "skipped", "running", "waiting")
        if night.count(status)
    ]
    end = {
        "done": "ran to its end",
        "stopped": f"was stopped, as the sheet asks: {night.why}",
        "interrupted": f"was interrupted: {night.why}",
        "running": "is going on",
    }[night.state]
    return f"The night {end}. Steps: {', '.join(counts)}."


def safety(night: Night) -> str:
    """How the instrument was left."""
    if night.safe is None:
        return "Instrument: nobody could look how it was left; xrm-sims recover makes it safe."
    if night.safe:
        return "Instrument: both beams blanked, target parked."
    return "Instrument: NOT SAFE, a beam is on or the target is not parked; xrm-sims recover makes it safe."


def _rows(night: Night) -> Iterator[tuple[Outcome, tuple[str, ...]]]:
    for outcome in night.outcomes:
        began, ended = outcome.began_s, outcome.ended_s
        tried = f" after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
        yield (
            outcome,
            (
                outcome.sample,
                outcome.do,
                f"{outcome.status}{tried}",
                "" if began is None else time.strftime("%H:%M:%S", time.localtime(began)),
                "" if began is None or ended is None else duration(ended - began),
                duration(outcome.instrument_s) if outcome.instrument_s else "",
                ", ".join(uid[:8] for uid in outcome.uids),
                outcome.said,
            ),
        )


def _span(night: Night) -> str:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(night.began_s))
    ended = "" if night.ended_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(night.ended_s))
    resumed = [time.strftime("%Y-%m-%d %H:%M", time.localtime(when_s)) for when_s in night.resumed_s]
    again = f"; interrupted, went on {' and '.join(resumed)}" if resumed else ""
    return f"{began} to {ended or '…'}{again}"


def _markdown(night: Night, folder: Path, pictures: Mapping[str, Sequence[Path]]) -> str:
    def cell(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|")

    lines = [f"# {night.title}", "", _span(night), "", verdict(night), "", safety(night), ""]
    lines += ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for _, row in _rows(night)]
    lines += ["", "Runs:", ""]
    lines += [f"- `{uid}` {outcome.sample}, {outcome.do}" for outcome, _ in _rows(night) for uid in outcome.uids]
    for outcome, path in _pictures(night, pictures):
        lines += ["", f"![{outcome.sample}, {path.stem}]({os.path.relpath(path, folder)})"]
    return "\n".join(lines) + "\n"


def _page(night: Night, pictures: Mapping[str, Sequence[Path]]) -> str:
    rows = list(_rows(night))
    runs = [
        element("li", element("code", uid), f" {outcome.sample}, {outcome.do}")
        for outcome in night.outcomes
        for uid in outcome.uids
    ]
    figures = [
        picture(path.read_bytes(), path.stem, f"{outcome.sample}: {path.stem}")
        for outcome, path in _pictures(night, pictures)
    ]
    return document(
        night.title,
        element("h1", night.title),
        element("p", _span(night)),
        element("p", verdict(night), class_="verdict"),
        element("p", safety(night)),
        table(_HEAD, [row for _, row in rows], classes=[outcome.status for outcome, _ in rows]),
        element("h2", "Runs"),
        element("ul", *runs),
        *figures,
    )


def _pictures(night: Night, pictures: Mapping[str, Sequence[Path]]) -> Iterator[tuple[Outcome, Path]]:
    for outcome in night.outcomes:
        for uid in outcome.uids:
            for path in pictures.get(uid, ()):
                yield outcome, path
