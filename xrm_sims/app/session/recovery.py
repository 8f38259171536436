"""Detect what a crash has left behind, and recover from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import Instrument
from plans.stubs import Plan, make_safe
from xrm_sims.app.session.night_record import close_lost_night, lost_night
from xrm_sims.data.journal import interrupted_runs, read_journal
from xrm_sims.data.recorder import Recorder, not_taken
from xrm_sims.data.run_summary import RunSummary


@dataclass(frozen=True)
class LostRun:
    """A run without a stop document: what it is, how far it came, what it last knew of time and dose."""

    uid: str
    kind: str
    taken: int
    wanted: int
    last: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} {self.uid} ({self.taken} of {self.wanted})"


def lost_run(path: Path) -> LostRun:
    """From a journal file."""
    run = RunSummary(read_journal(path))
    last: dict[str, Any] = {}
    for event in run.events:
        last |= event["data"]
    start = run.start_doc
    return LostRun(start["uid"], run.kind, run.counts["primary"], int(start.get("num_points") or 0), last)


def beams_on(scope: Instrument) -> list[str]:
    """Return the names of the beams that are not blanked."""
    beams = {"electron beam": scope.beam.blanked, "ion beam": scope.fib.blanked}
    return [name for name, blanked in beams.items() if not blanked.get()]


def found(scope: Instrument, recorder: Recorder) -> str:
    """Describe in one line what needs recovery; empty when nothing does."""
    journal = recorder.layout.journal
    lost = [path.stem for path in interrupted_runs(journal)]
    runs = [f"run {lost[0]} never ended" if len(lost) == 1 else f"{len(lost)} runs never ended"] if lost else []
    lacking = len(not_taken(journal)) - len(lost)
    behind = [f"the catalogue has not confirmed {lacking} run{'s' if lacking > 1 else ''}"] if lacking > 0 else []
    nights = ["a night never ended"] if lost_night(recorder.layout) else []
    return ", ".join([*(f"the {name} was left on" for name in beams_on(scope)), *runs, *nights, *behind])


def recover(scope: Instrument, recorder: Recorder, run_plan: Callable[[Plan[None]], None]) -> list[str]:
    """Blank both beams, park the target, close interrupted runs and nights, complete the catalogue.

    Returns a line for each thing done.
    """
    lost = [lost_run(path) for path in interrupted_runs(recorder.layout.journal)]
    on, at_um = beams_on(scope), scope.target.x_um.get()
    scope.make_safe()
    run_plan(make_safe(scope))
    done = [f"{name}: was on, now blanked" for name in on] or ["beams: both were blanked"]
    if lost and "instrument_time_s" in lost[-1].last:
        done.append(_elapsed(scope, lost[-1]))
    parked_um = scope.target.x_um.get()
    before = "was" if at_um == parked_um else f"stood at x = {at_um:g} um, now"
    done.append(f"target: {before} parked at x = {parked_um:g} um")
    written = recorder.replay(scope.read())
    done += [f"run closed as interrupted, its data are kept: {run}" for run in lost]
    if night := close_lost_night(recorder.layout, safe=not beams_on(scope)):
        done.append(f"night closed as interrupted, the same sheet continues it: {night}")
    done.append(f"catalogue: {len(written)} runs written from the journal" if written else "catalogue: complete")
    return done


def _elapsed(scope: Instrument, run: LostRun) -> str:
    """Describe the time and the gallium dose since the last document of a run."""
    passed_s = scope.time_s.get() - run.last["instrument_time_s"]
    text = f"since the last document of run {run.uid[:8]}: {passed_s:.1f} s of instrument time"
    if "fib_dose_nc" in run.last:
        text += f", {scope.fib.dose_nc.get() - run.last['fib_dose_nc']:.4g} nC of gallium on the specimen"
    return text
