"""The summary of a night: what was measured, what failed and why, as Markdown and as one HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from plans import Night, Outcome
from plans.preflight import duration
from xrm_sims.app.common.html import local_time, render
from xrm_sims.atomic_write import write_whole

MARKDOWN, HTML = "summary.md", "summary.html"
_HEAD = ("Specimen", "Step", "Status", "Start", "Duration", "Instrument time", "Runs", "Result")
_SAFETY = {
    None: "its state is unknown; run xrm-sims recover to make it safe.",
    True: "both beams blanked, target parked.",
    False: "NOT SAFE, a beam is on or the target is not parked; run xrm-sims recover to make it safe.",
}


def write_summary(night: Night, folder: Path, pictures: Mapping[str, Sequence[Path]]) -> Path:
    """Write ``summary.md`` and ``summary.html`` into the folder and return the path of the HTML page.

    ``pictures`` are image files by the uid of their run; the HTML page contains them.
    """
    runs = [(uid, outcome) for outcome in night.outcomes for uid in outcome.uids]
    shown = [(path, outcome) for uid, outcome in runs for path in pictures.get(uid, ())]
    table = [(outcome.status, _cells(outcome)) for outcome in night.outcomes]
    texts = {"span": _span(night), "verdict": _verdict(night), "safety": f"Instrument: {_SAFETY[night.safe]}"}

    lines = [f"# {night.title}", *(f"\n{text}" for text in texts.values()), ""]
    lines += ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += ["| " + " | ".join(map(_escape_cell, cells)) + " |" for _, cells in table]
    lines += ["", "Runs:", "", *(f"- `{uid}` {outcome.sample}, {outcome.do}" for uid, outcome in runs)]
    lines += [f"\n![{outcome.sample}, {path.stem}]({os.path.relpath(path, folder)})" for path, outcome in shown]
    write_whole(folder / MARKDOWN, "\n".join(lines) + "\n")

    images = [(path.read_bytes(), path.stem, outcome) for path, outcome in shown]
    page = render(
        "session/night_summary.html.j2", title=night.title, head=_HEAD, table=table, runs=runs, images=images, **texts
    )
    return write_whole(folder / HTML, page)


def _verdict(night: Night) -> str:
    """Return in one sentence how the night ended, then how many steps have each status."""
    statuses = ("done", "failed", "interrupted", "skipped", "running", "waiting")
    counts = [f"{night.count(status)} {status}" for status in statuses if night.count(status)]
    end = {
        "done": "ran to its end",
        "stopped": f"was stopped, as its sheet requires: {night.why}",
        "interrupted": f"was interrupted: {night.why}",
        "running": "is still running",
    }[night.state]
    return f"The night {end}. Steps: {', '.join(counts)}."


def _cells(outcome: Outcome) -> tuple[str, ...]:
    """Return one step's row of the table."""
    began, ended = outcome.began_s, outcome.ended_s
    attempts = f" after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
    return (
        outcome.sample,
        outcome.do,
        f"{outcome.status}{attempts}",
        "" if began is None else local_time(began, "%H:%M:%S"),
        "" if began is None or ended is None else duration(ended - began),
        duration(outcome.instrument_s) if outcome.instrument_s else "",
        ", ".join(uid[:8] for uid in outcome.uids),
        outcome.said,
    )


def _span(night: Night) -> str:
    resumed = [local_time(at_s) for at_s in night.resumed_s]
    interruptions = f"; interrupted, resumed {' and '.join(resumed)}" if resumed else ""
    return f"{local_time(night.began_s)} to {local_time(night.ended_s) if night.ended_s else '…'}{interruptions}"


def _escape_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")
