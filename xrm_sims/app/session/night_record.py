"""The record of a night on disk: written after each step, closed after a crash, read to continue the night."""

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
    """Write ``night.json``, a line of ``log.txt`` for each change of a step, and at the end the summary.

    A full disk causes a warning; the night continues.

    Parameters
    ----------
    folder : of the night.
    sheet : fingerprint of the sheet, stored in the record.
    drawn : paths of pictures by the uid of their run; may grow during the night.
    announce : called with each line of the log.
    text : content of the sheet; empty if the night continues.
    """

    def __init__(
        self,
        folder: Path,
        sheet: str,
        drawn: Pictures,
        announce: Callable[[str], object],
        text: str = "",
    ) -> None:
        self.folder = folder
        self._sheet = sheet
        self._text = text
        self._drawn = drawn
        self._announce = announce
        self._logged: dict[int, tuple[str, int]] = {}

    def __call__(self, night: Night) -> None:
        try:
            self._write(night)
        except OSError as error:
            logger.warning("night %s: its record cannot be written (%s)", self.folder, error.strerror)

    def skip_logged(self, night: Night) -> None:
        """Do not log the present state of the steps again."""
        self._logged = {number: (outcome.status, outcome.attempts) for number, outcome in enumerate(night.outcomes)}

    def log(self, line: str) -> None:
        """Append a line to the log and announce it."""
        with open(self.folder / LOG, "a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        with suppress(OSError):  # the terminal may be closed
            self._announce(line)

    def _write(self, night: Night) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            (self.folder / SHEET).write_text(self._text)
        for number, outcome in enumerate(night.outcomes):
            state = outcome.status, outcome.attempts
            if outcome.status != "waiting" and self._logged.get(number) != state:
                self._logged[number] = state
                attempt = f", attempt {outcome.attempts}" if outcome.attempts > 1 else ""
                result = f": {outcome.said}" if outcome.said and outcome.status != "running" else ""
                self.log(f"{outcome.sample}: {outcome.do} {outcome.status}{attempt}{result}")
        about = {
            "sheet": self._sheet,
            "pid": os.getpid(),
            "folder": str(self.folder),
            "written_s": time.time(),
            "pictures": {uid: [str(path) for path in paths] for uid, paths in self._drawn.items()},
        }
        write_whole(self.folder / RECORD, json.dumps(night.as_dict() | about, indent=2))
        if night.ended_s is not None:
            self.log(f"night {night.state}{f': {night.why}' if night.why else ''}")
            self.log(f"summary: {write_summary(night, self.folder, self._drawn)}")


def fingerprint(sheet: Sheet) -> str:
    """Return a hash of the sheet's content, independent of comments and layout."""
    return hashlib.sha256(json.dumps(sheet.model_dump(), sort_keys=True, default=str).encode()).hexdigest()


def newest(layout: Layout) -> dict[str, Any] | None:
    """Return the record of the night that began last."""
    records = [json.loads(path.read_text()) for path in layout.nights.glob(f"*/{RECORD}")]
    return max(records, key=lambda record: record["began_s"], default=None)


def pictures_of(record: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Return the existing pictures by the uid of their run."""
    pictures = record.get("pictures", {})
    return {uid: [Path(path) for path in paths if Path(path).exists()] for uid, paths in pictures.items()}


def runs_of(record: Mapping[str, Any], layout: Layout) -> dict[int, list[dict[str, Any]]]:
    """Return the start documents of a night's runs by the number of their step, oldest first.

    They come from the journals, because a killed process may not have recorded the run that it had just begun.
    """
    found: dict[int, list[dict[str, Any]]] = {}
    for start in read_starts(layout.journal).values():
        if start.get("night_uid") == record["uid"] and "night_step" in start:
            found.setdefault(start["night_step"], []).append(start)
    return found


def night_of(record: Mapping[str, Any], runs: Mapping[int, list[dict[str, Any]]]) -> Night:
    """Return the night of a record, with the runs found in the journals."""
    night = Night.from_dict(record)
    for number, starts in runs.items():
        night.outcomes[number].uids = [start["uid"] for start in starts]
    return night


def lost_night(layout: Layout) -> dict[str, Any] | None:
    """Return the record of the newest night if its process was killed before the night ended.

    Call it only in the process that holds the instrument: the record of a running night looks the same.
    """
    record = newest(layout)
    return record if record is not None and record["state"] == "running" else None


def close_lost_night(layout: Layout, safe: bool) -> Path | None:
    """Close a night whose process was killed, write its summary, and return its folder; None if there is no such night.

    ``safe`` is whether the instrument is safe now.
    """
    record = lost_night(layout)
    if record is None:
        return None
    folder, night = Path(record["folder"]), night_of(record, runs_of(record, layout))
    keep = Record(folder, record.get("sheet", ""), pictures_of(record), announce=lambda line: None)
    keep.skip_logged(night)
    night.close("interrupted", "its process was killed")
    night.safe = safe
    keep(night)
    return folder
