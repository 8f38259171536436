"""Running a night sheet: checked, its record kept on disk step by step, a summary in the morning."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import plans
from plans import Night, Sheet
from xrm_sims.app.bench import NightBench
from xrm_sims.app.demo import write_json
from xrm_sims.app.errors import in_one_line
from xrm_sims.app.morning import write_summary
from xrm_sims.app.session import Session, open_session
from xrm_sims.app.sheets import SheetFile
from xrm_sims.data.layout import Layout

logger = logging.getLogger(__name__)
RECORD, LOG = "night.json", "log.txt"


def run_night(
    path: Path, data: Path | None, *, dry_run: bool = False, announce: Callable[[str], object] = print, **options: Any
) -> bool:
    """The command: refuse or run a night sheet, say where its summary is. False when a step failed.

    ValueError names the sheet's line for anything that cannot be done, before anything moves.
    """
    file = SheetFile(path)
    with open_session(data, **options) as session:
        bench = NightBench(session.data, session.settings, Layout(session.data).nights)
        weighed = file.asking(lambda: plans.check_sheet(session.scope, file.sheet, bench, session.check_specimen))
        announce(str(weighed))
        if not weighed.ok:
            raise ValueError(f"night sheet {path}: {weighed.problems[0]}")
        if dry_run:
            return True
        night = session.run(night_plan(session, file.sheet, file.text, announce))
    return night.state == "done" and not night.count("failed")


def night_plan(
    session: Session, sheet: Sheet | Mapping[str, Any], text: str = "", announce: Callable[[str], object] = print
) -> Generator[Any, Any, Night]:
    """:func:`plans.night` with this project's computations, record and summary."""
    folder = _new_folder(Layout(session.data).nights)
    if text:
        (folder / "sheet.toml").write_text(text)
    bench = NightBench(session.data, session.settings, folder)
    kept = Record(folder, bench, announce)
    night = yield from plans.night(
        session.scope,
        sheet,
        bench=bench,
        keep=kept,
        in_words=in_one_line,
        check_specimen=session.check_specimen,
    )
    return night


def _new_folder(nights: Path) -> Path:
    """``2026-11-25T2130``, or the same with a number when there is one already."""
    name = time.strftime("%Y-%m-%dT%H%M")
    number = 1
    while True:
        folder = nights / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


class Record:
    """Keeps a night's record: ``night.json`` replaced as a whole, a line in ``log.txt`` for every change of a step,
    and at the end the summary. A disk that is full must not end the night: it is said and the night goes on."""

    def __init__(self, folder: Path, bench: NightBench, announce: Callable[[str], object]) -> None:
        self.folder = folder
        self._bench = bench
        self._announce = announce
        self._told: dict[int, tuple[str, int]] = {}

    def __call__(self, night: Night) -> None:
        try:
            self._keep(night)
        except OSError as error:
            logger.warning("night %s: its record cannot be written (%s)", self.folder, error.strerror)

    def _keep(self, night: Night) -> None:
        for number, outcome in enumerate(night.outcomes):
            state = outcome.status, outcome.attempts
            if outcome.status != "waiting" and self._told.get(number) != state:
                self._told[number] = state
                again = f", attempt {outcome.attempts}" if outcome.attempts > 1 else ""
                said = f": {outcome.said}" if outcome.said and outcome.status != "running" else ""
                self._say(f"{outcome.sample}: {outcome.do} {outcome.status}{again}{said}")
        about = {"pid": os.getpid(), "folder": str(self.folder), "written_s": time.time()}
        write_json(self.folder / RECORD, night.as_dict() | about)
        if night.ended_s is not None:
            self._say(f"night {night.state}{f': {night.why}' if night.why else ''}")
            summary = write_summary(night, self.folder, self._bench.drawn)
            self._say(f"summary: {summary}")

    def _say(self, line: str) -> None:
        with open(self.folder / LOG, "a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        with suppress(OSError):  # a terminal that is gone
            self._announce(line)
