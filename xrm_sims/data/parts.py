"""The parts of one measurement that was interrupted and resumed, told by their journals alone.

A journal is there when the catalogue is not, and it is read in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xrm_sims.data.frames import count_frames
from xrm_sims.data.journal import find_journal, journal_paths, read_journal, read_start


@dataclass(frozen=True)
class Part:
    """One run of a measurement.

    taken : seq_nums of ``primary`` whose frame can be read (and, in a stream with events, whose event is there).
    before, after : the instrument at its beginning and at its end; empty where the run does not tell, but where it came
        to no end of its own (on a full disk, say) ``after`` is what the next run found.
    ended : whether it has a stop document.
    """

    start: dict[str, Any]
    taken: tuple[int, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    ended: bool

    @property
    def uid(self) -> str:
        return str(self.start["uid"])


def find_parts(folder: Path, run: str) -> list[Part]:
    """The parts of the measurement that ``run`` belongs to, oldest first; a run that was never resumed is one.

    Parameters
    ----------
    folder : of the journals.
    run : uid of any part, or the first characters of it.

    Raises ValueError when there is no such run.
    """
    start = read_start(find_journal(folder, run))
    first = start.get("resumes_uid", start["uid"])
    starts = [(path, read_start(path)) for path in journal_paths(folder)]
    runs = sorted(((path, start) for path, start in starts if start), key=lambda run: run[1]["time"])
    return [
        _ended_as_found(read_part(path), [later for later, _ in runs[n + 1 :]])
        for n, (path, start) in enumerate(runs)
        if first in (start["uid"], start.get("resumes_uid"))
    ]


def _ended_as_found(part: Part, later: list[Path]) -> Part:
    if part.after or not part.before:
        return part
    return replace(part, after=next((found for path in later if (found := read_part(path).before)), {}))


def read_part(path: Path) -> Part:
    """What a journal tells of its run."""
    start: dict[str, Any] = {}
    streams: dict[str, dict[str, Any]] = {}
    resources: dict[str, int] = {}
    events: set[int] = set()
    frames: set[int] = set()
    baseline: list[dict[str, Any]] = []
    ended = with_events = False
    for name, doc in read_journal(path):
        if name == "start":
            start = doc
        elif name == "descriptor":
            streams[doc["uid"]] = doc
            with_events |= doc["name"] == "primary" and not all("external" in key for key in doc["data_keys"].values())
        elif name == "stream_resource":
            resources[doc["uid"]] = count_frames(doc)
        elif name == "event" and streams[doc["descriptor"]]["name"] == "baseline":
            baseline.append(doc["data"])
        elif name == "event" and streams[doc["descriptor"]]["name"] == "primary":
            events.add(doc["seq_num"])
        elif name == "stream_datum" and streams[doc["descriptor"]]["name"] == "primary":
            readable = min(doc["indices"]["stop"], resources[doc["stream_resource"]]) - doc["indices"]["start"]
            frames.update(range(doc["seq_nums"]["start"], doc["seq_nums"]["start"] + readable))
        elif name == "stop":
            ended = True
    taken = events & frames if with_events and resources else frames | events
    after = baseline[-1] if len(baseline) > 1 else {}
    return Part(start, tuple(sorted(taken)), baseline[0] if baseline else {}, after, ended)
