"""Running a night sheet: checked, its record kept on disk step by step, a summary in the morning."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import plans
from plans import Night, Preflight, Unfinished
from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.night.computations import NightBench
from xrm_sims.app.night.sheet_file import SheetFile
from xrm_sims.app.session.hardware import rehearsal
from xrm_sims.app.session.night_record import Record, fingerprint, newest, night_of, pictures_of, runs_of
from xrm_sims.app.session.resume import finish_run
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.data.layout import Layout


def run_night(
    path: Path, data: Path | None, *, anew: bool = False, announce: Callable[[str], object] = print, **options: Any
) -> bool:
    """The command: refuse or run a night sheet, say where its summary is. False when a step failed.

    ValueError names the sheet's line for anything that cannot be done, before anything moves.
    """
    SheetFile(path)  # what is no sheet is refused without opening the instrument
    with open_session(data, **options) as session:
        night = session.run(night_plan(session, path, announce, anew))
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
    session: Session,
    sheet: Path | Mapping[str, Any],
    announce: Callable[[str], object] = print,
    anew: bool = False,
) -> Generator[Any, Any, Night]:
    """:func:`plans.night` with this project's computations, record and summary; the sheet is a file, or its table.

    If the last night of this data root was this sheet's and was interrupted or killed, it goes on where it stood, in
    its own folder, unless it shall begin ``anew``. ValueError, naming the line where there is one, before anything
    moves.
    """
    layout = Layout(session.data)
    read, text, asking = _read(sheet)
    record = None if anew else _interrupted(layout, fingerprint(read))
    folder = _free_name(layout.nights) if record is None else Path(record["folder"])
    bench = NightBench(session.data, session.settings, folder, session.analysis)
    asking(lambda: plans.check_sheet(session.scope, read, bench, session.check_specimen))
    bench.drawn |= {} if record is None else pictures_of(record)
    keep = Record(folder, {"sheet": fingerprint(read)}, bench.drawn, announce, text)
    return (
        yield from plans.night(
            session.scope,
            read,
            bench=bench,
            keep=keep,
            in_words=in_one_line,
            check_specimen=session.check_specimen,
            unfinished=None if record is None else _unfinished(session, record, keep),
        )
    )


def _read(sheet: Path | Mapping[str, Any]) -> tuple[plans.Sheet, str, Callable[..., Any]]:
    """The sheet, its text, and how to ask something whose refusal names the line."""
    if isinstance(sheet, Path):
        file = SheetFile(sheet)
        return file.sheet, file.text, file.asking
    return plans.read_sheet(sheet), json.dumps(dict(sheet), indent=2), lambda question: question()


def _interrupted(layout: Layout, sheet: str) -> dict[str, Any] | None:
    """The record of the newest night, if it is this sheet's and did not come to its end."""
    record = newest(layout)
    return record if record and record.get("sheet") == sheet and not Night.from_dict(record).over else None


def _unfinished(session: Session, record: Mapping[str, Any], keep: Record) -> Unfinished:
    """That night, told to go on."""
    runs = runs_of(record, Layout(session.data))
    night = night_of(record, runs)
    keep.told(night)
    keep.say(f"the night of {time.strftime('%Y-%m-%d %H:%M', time.localtime(night.began_s))} goes on")
    begun = {number: starts[-1].get("resumes_uid", starts[-1]["uid"]) for number, starts in runs.items()}
    return Unfinished(night, begun, lambda run: finish_run(session.scope, run, session.data, keep.say))


def _free_name(nights: Path) -> Path:
    """``2026-11-25T2130``, or the same with a number when there is one already."""
    name = time.strftime("%Y-%m-%dT%H%M")
    folders = (nights / (f"{name}-{number}" if number > 1 else name) for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())
