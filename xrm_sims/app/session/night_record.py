"""The record of a night on disk: kept step by step, closed when its process was killed, found again to go on with."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from plans import Night, Sheet
from xrm_sims.app.session.night_summary import write_summary
from xrm_sims.atomic_write import write_whole
from xrm_sims.data.journal import read_starts
from xrm_sims.data.layout import Layout

logger = logging.getLogger(__name__)
RECORD, LOG, SHEET = "night.json", "log.txt", "sheet.toml"
Pictures = Mapping[str, Sequence[Path]]


class Record:
    """Keeps a night's record: ``night.json`` replaced as a whole, a line in ``log.txt`` for every change of a step,
    and at the end the summary. A disk that is full must not end the night: it is said and the night goes on.

    Parameters
    ----------
    folder : of the night.
    about : ``sheet``, its fingerprint; stands in the record beside what the night says itself.
    text : the sheet as it was written; empty in a night that goes on.
    drawn : pictures of runs, by uid; may grow while the night goes on.
    announce : hears every line of the log.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        drawn: Pictures,
        announce: Callable[[str], object],
        text: str = "",
    ) -> None:
        self.folder = folder
        self._about = dict(about)
        self._text = text
        self._drawn = drawn
        self._announce = announce
        self._told: dict[int, tuple[str, int]] = {}

    def __call__(self, night: Night) -> None:
        try:
            self._keep(night)
        except OSError as error:
            logger.warning("night %s: its record cannot be written (%s)", self.folder, error.strerror)

    def told(self, night: Night) -> None:
        """All of this has been said before."""
        self._told = {number: (outcome.status, outcome.attempts) for number, outcome in enumerate(night.outcomes)}

    def say(self, line: str) -> None:
        """A line for the log."""
        with open(self.folder / LOG, "a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        with suppress(OSError):  # a terminal that is gone
            self._announce(line)

    def _keep(self, night: Night) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            (self.folder / SHEET).write_text(self._text)
        for number, outcome in enumerate(night.outcomes):
            state = outcome.status, outcome.attempts
            if outcome.status != "waiting" and self._told.get(number) != state:
                self._told[number] = state
                again = f", attempt {outcome.attempts}" if outcome.attempts > 1 else ""
                said = f": {outcome.said}" if outcome.said and outcome.status != "running" else ""
                self.say(f"{outcome.sample}: {outcome.do} {outcome.status}{again}{said}")
        about = self._about | {"pid": os.getpid(), "folder": str(self.folder), "written_s": time.time()}
        pictures = {uid: [str(path) for path in paths] for uid, paths in self._drawn.items()}
        write_whole(self.folder / RECORD, json.dumps(night.as_dict() | about | {"pictures": pictures}, indent=2))
        if night.ended_s is not None:
            self.say(f"night {night.state}{f': {night.why}' if night.why else ''}")
            summary = write_summary(night, self.folder, self._drawn)
            self.say(f"summary: {summary}")


def fingerprint(sheet: Sheet) -> str:
    """Equal for sheets that ask for the same, however they are written."""
    return hashlib.sha256(json.dumps(sheet.model_dump(), sort_keys=True, default=str).encode()).hexdigest()


def newest(layout: Layout) -> dict[str, Any] | None:
    """Return the night record that was written last, by the time that it holds."""
    records = [json.loads(path.read_text()) for path in layout.nights.glob(f"*/{RECORD}")]
    return max(records, key=lambda record: record["written_s"], default=None)


def pictures_of(record: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Pictures by the uid of their run, those that are still there."""
    told = record.get("pictures", {})
    return {uid: [Path(path) for path in paths if Path(path).exists()] for uid, paths in told.items()}


def runs_of(record: Mapping[str, Any], layout: Layout) -> dict[int, list[dict[str, Any]]]:
    """Start documents of a night's runs by the number of their step, oldest first, as the journals have them: a killed
    process could not note the run that it had just begun."""
    found: dict[int, list[dict[str, Any]]] = {}
    for start in read_starts(layout.journal).values():
        if start.get("night_uid") == record["uid"] and "night_step" in start:
            found.setdefault(start["night_step"], []).append(start)
    return found


def night_of(record: Mapping[str, Any], runs: Mapping[int, list[dict[str, Any]]]) -> Night:
    """The night that a record tells of, with the runs that its journals know."""
    night = Night.from_dict(record)
    for number, starts in runs.items():
        night.outcomes[number].uids = [start["uid"] for start in starts]
    return night


def lost_night(layout: Layout) -> dict[str, Any] | None:
    """The record of the newest night, if its process was killed before it could say how it ended. Only for the process
    that holds the instrument: a night that goes on looks the same."""
    record = newest(layout)
    return record if record is not None and record["state"] == "running" else None


def close_lost_night(layout: Layout, safe: bool) -> Path | None:
    """Give a night whose process was killed its end and its summary; the folder of the night, if there was one.

    ``safe`` says how the instrument stands now.
    """
    record = lost_night(layout)
    if record is None:
        return None
    folder, night = Path(record["folder"]), night_of(record, runs_of(record, layout))
    keep = Record(folder, {"sheet": record.get("sheet", "")}, pictures_of(record), announce=lambda line: None)
    keep.told(night)
    night.close("interrupted", "its process was killed")
    night.safe = safe
    keep(night)
    return folder
