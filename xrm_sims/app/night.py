"""Running a night sheet: checked, its record kept on disk step by step, a summary in the morning."""

from __future__ import annotations

import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import plans
from plans import Night, Preflight
from xrm_sims.app.bench import NightBench
from xrm_sims.app.demo import write_json
from xrm_sims.app.errors import in_one_line
from xrm_sims.app.morning import write_summary
from xrm_sims.app.session import Session, open_session, rehearsal
from xrm_sims.app.sheets import SheetFile
from xrm_sims.data.layout import Layout

logger = logging.getLogger(__name__)
RECORD, LOG, SHEET = "night.json", "log.txt", "sheet.toml"


def run_night(path: Path, data: Path | None, *, announce: Callable[[str], object] = print, **options: Any) -> bool:
    """The command: refuse or run a night sheet, say where its summary is. False when a step failed.

    ValueError names the sheet's line for anything that cannot be done, before anything moves.
    """
    SheetFile(path)  # what is no sheet is refused without opening the instrument
    with open_session(data, **options) as session:
        night = session.run(night_plan(session, path, announce))
    return night.state == "done" and not night.count("failed")


def rehearse(file: SheetFile, data: Path | None) -> Preflight:
    """What a sheet will take, checked beside the instrument, which another process may hold.

    ValueError names the line of what cannot be done.
    """
    with rehearsal(data) as (scope, check_specimen):
        bench = NightBench(Layout.of(data).root, scope.settings, Layout.of(data).nights)
        weighed = file.asking(lambda: plans.check_sheet(scope, file.sheet, bench, check_specimen))
    if not weighed.ok:
        raise ValueError(f"night sheet {file.path}: {weighed.problems[0]}")
    return weighed


def night_plan(
    session: Session, sheet: Path | Mapping[str, Any], announce: Callable[[str], object] = print
) -> Generator[Any, Any, Night]:
    """:func:`plans.night` with this project's computations, record and summary; the sheet is a file, or its table.

    ValueError, naming the line where there is one, before anything moves.
    """
    folder = _free_name(Layout(session.data).nights)
    bench = NightBench(session.data, session.settings, folder)
    if isinstance(sheet, Path):
        file = SheetFile(sheet)
        read, text = file.sheet, file.text
        file.asking(lambda: plans.check_sheet(session.scope, read, bench, session.check_specimen))
    else:
        read, text = plans.read_sheet(sheet), json.dumps(dict(sheet), indent=2)
    return (
        yield from plans.night(
            session.scope,
            read,
            bench=bench,
            keep=Record(folder, bench, text, announce),
            in_words=in_one_line,
            check_specimen=session.check_specimen,
        )
    )


def _free_name(nights: Path) -> Path:
    """``2026-11-25T2130``, or the same with a number when there is one already."""
    name = time.strftime("%Y-%m-%dT%H%M")
    folders = (nights / (f"{name}-{number}" if number > 1 else name) for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())


class Record:
    """Keeps a night's record: ``night.json`` replaced as a whole, a line in ``log.txt`` for every change of a step,
    and at the end the summary. A disk that is full must not end the night: it is said and the night goes on."""

    def __init__(self, folder: Path, bench: NightBench, sheet: str, announce: Callable[[str], object]) -> None:
        self.folder = folder
        self._sheet = sheet
        self._bench = bench
        self._announce = announce
        self._told: dict[int, tuple[str, int]] = {}

    def __call__(self, night: Night) -> None:
        try:
            self._keep(night)
        except OSError as error:
            logger.warning("night %s: its record cannot be written (%s)", self.folder, error.strerror)

    def _keep(self, night: Night) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            (self.folder / SHEET).write_text(self._sheet)
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
