"""The parts of a measurement that was interrupted and resumed, read from their journals.

Journals are read because they are available without the catalogue, within milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xrm_sims.data.frames import count_frames
from xrm_sims.data.journal import find_journal, read_journal, read_start, read_starts
from xrm_sims.data.run_summary import RunSummary


@dataclass(frozen=True)
class Part:
    """One run of a measurement.

    taken : seq_nums of ``primary`` with a readable frame and, in a stream with events, with an event.
    before, after : readings of the instrument at the start and the end of the run; empty where they are missing. If
        the run has none at its end (because the disk was full, say), ``after`` holds those of the next run's start.
    ended : whether the run has a stop document.
    """

    start: dict[str, Any]
    taken: tuple[int, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    ended: bool

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def kind(self) -> str:
        """Scan type of the run, else the name of its plan."""
        return str(self.start.get("scan_type", self.start.get("plan_name", "run")))


def find_parts(folder: Path, run: str) -> list[Part]:
    """Return the parts of the measurement that ``run`` belongs to, oldest first.

    Parameters
    ----------
    folder : folder of the journals.
    run : uid of any part, or its first characters.

    Raises ValueError when there is no such run.
    """
    start = read_start(find_journal(folder, run))
    first = start.get("resumes_uid", start["uid"])
    starts = read_starts(folder)
    return [
        _ended_as_found(read_part(path), list(starts)[n + 1 :])
        for n, (path, start) in enumerate(starts.items())
        if first in (start["uid"], start.get("resumes_uid"))
    ]


def _ended_as_found(part: Part, later: list[Path]) -> Part:
    if part.after or not part.before:
        return part
    return replace(part, after=next((found for path in later if (found := read_part(path).before)), {}))


def read_part(path: Path) -> Part:
    """Read one run from its journal."""
    return part_of(RunSummary(read_journal(path)))


def part_of(run: RunSummary) -> Part:
    """Return the part that these documents describe."""
    files = {uid: count_frames(resource) for uid, resource in run.resources.items()}
    frames = {number for number, resource, n in run.frame_places("primary") if n < files[resource["uid"]]}
    events = {event["seq_num"] for event in run.events_of("primary")}
    keys = [key for doc in run.descriptors.values() if doc["name"] == "primary" for key in doc["data_keys"].values()]
    with_events = not all("external" in key for key in keys)
    taken = events & frames if with_events and files else frames | events
    baseline = [event["data"] for event in run.events_of("baseline")]
    before, after = baseline[0] if baseline else {}, baseline[-1] if len(baseline) > 1 else {}
    return Part(run.start_doc, tuple(sorted(taken)), before, after, bool(run.stop_doc))
