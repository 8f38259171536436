"""Measure all rows of the validation, or some of them, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from xrm_sims.app.common.progress import stages
from xrm_sims.app.validation import ions, link, surface, xrays
from xrm_sims.app.validation.laboratory import Laboratory
from xrm_sims.app.validation.report import line, markdown
from xrm_sims.app.validation.rows import Check, Row
from xrm_sims.atomic_write import write_whole

ROWS = {
    check.name: check
    for module in (xrays, surface, ions, link)
    for check in vars(module).values()
    if isinstance(check, Check)
}


def chosen_rows(names: Sequence[str] = ()) -> dict[str, Check]:
    """Return the rows of these names in the report's order, or all rows; ValueError for an unknown name."""
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ValueError(f"rows: {', '.join(map(repr, unknown))} unknown; choose from {', '.join(ROWS)}")
    return {name: check for name, check in ROWS.items() if not names or name in names}


def validate(
    out: Path, *, seed: int = 1, names: Sequence[str] = (), announce: Callable[[str], None] = print
) -> list[Row]:
    """Measure rows; write ``validation.md`` and figures into ``out``, and the runs into data roots below it.

    ``announce`` is called with each finished row. Raises ValueError for an unknown row, before anything is measured.
    """
    rows = chosen_rows(names)
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    lab = Laboratory(out, seed)
    done: list[Row] = []
    spent, whole = 0.0, sum(check.seconds for check in rows.values())
    with stages() as progress:
        for check in rows.values():
            progress("validation", spent / whole)
            done.append(check.row(lab))
            announce(line(done[-1]))
            spent += check.seconds
        progress("validation", 1.0)
    text = markdown(done, seed, time.perf_counter() - began, lab.pictures)
    announce(f"report: {write_whole(out / 'validation.md', text)}")
    return done
