"""Run a night sheet: check it, write its record to disk after each step and a summary at the end."""

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
from xrm_sims.app.common.html import local_time
from xrm_sims.app.night.computations import NightComputations
from xrm_sims.app.night.sheet_file import SheetFile
from xrm_sims.app.session.hardware import rehearsal
from xrm_sims.app.session.night_record import Record, fingerprint, newest, night_of, pictures_of, runs_of
from xrm_sims.app.session.resume import finish_run
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.data.layout import Layout


def run_night(
    path: Path, data: Path | None, *, anew: bool = False, announce: Callable[[str], object] = print, **options: Any
) -> bool:
    """Run a night sheet and return whether it reached its end without a failed step.

    Raises ValueError with the sheet's line, before anything moves, if a step is impossible.
    """
    SheetFile(path)  # refuses an invalid sheet before the instrument opens
    with open_session(data, **options) as session:
        night = session.run(night_plan(session, path, announce, anew))
    return night.state == "done" and not night.count("failed")


def rehearse(file: SheetFile, data: Path | None) -> Preflight:
    """Return the time, dose and disk space of a sheet; another process may hold the instrument.

    Raises ValueError with the sheet's line if a step is impossible.
    """
    with rehearsal(data) as (scope, check_specimen):
        bench = NightComputations(Layout.of(data).root, scope.settings, Layout.of(data).nights)
        preflight = file.locate_errors(lambda: plans.check_sheet(scope, file.sheet, bench, check_specimen))
    if not preflight.ok:
        raise ValueError(f"night sheet {file.path}: {preflight.problems[0]}")
    return preflight


def night_plan(
    session: Session,
    sheet: Path | Mapping[str, Any],
    announce: Callable[[str], object] = print,
    anew: bool = False,
) -> Generator[Any, Any, Night]:
    """Return :func:`plans.night` with this project's computations, record and summary.

    ``sheet`` is a file or its table. If the newest night of this data root has the same sheet and was interrupted or
    killed, it continues in its own folder, unless ``anew`` is set. Raises ValueError, with the line if ``sheet`` is a
    file, before anything moves.
    """
    layout = Layout(session.data)
    if isinstance(sheet, Path):
        file = SheetFile(sheet)
        read, text, locate_errors = file.sheet, file.text, file.locate_errors
    else:
        read, text, locate_errors = plans.read_sheet(sheet), json.dumps(dict(sheet), indent=2), lambda check: check()
    record = None if anew else _interrupted(layout, fingerprint(read))
    folder = _free_name(layout.nights) if record is None else Path(record["folder"])
    bench = NightComputations(session.data, session.settings, folder, session.analysis)
    locate_errors(lambda: plans.check_sheet(session.scope, read, bench, session.check_specimen))
    bench.drawn |= {} if record is None else pictures_of(record)
    keep = Record(folder, fingerprint(read), bench.drawn, announce, text)
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


def _interrupted(layout: Layout, sheet: str) -> dict[str, Any] | None:
    """Return the record of the newest night if it has this sheet and did not reach its end."""
    record = newest(layout)
    return record if record and record.get("sheet") == sheet and not Night.from_dict(record).over else None


def _unfinished(session: Session, record: Mapping[str, Any], keep: Record) -> Unfinished:
    """Return the interrupted night with what is needed to continue it."""
    runs = runs_of(record, Layout(session.data))
    night = night_of(record, runs)
    keep.skip_logged(night)
    keep.log(f"the night of {local_time(night.began_s)} continues")
    begun = {number: starts[-1].get("resumes_uid", starts[-1]["uid"]) for number, starts in runs.items()}
    return Unfinished(night, begun, lambda run: finish_run(session.scope, run, session.data, keep.log))


def _free_name(nights: Path) -> Path:
    """Return a new folder named by the time, such as ``2026-11-25T2130``, with a number if that exists."""
    name = time.strftime("%Y-%m-%dT%H%M")
    folders = (nights / (f"{name}-{number}" if number > 1 else name) for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())
