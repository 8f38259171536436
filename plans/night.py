"""Unattended nights: the steps of a night sheet, specimen by specimen, with a record of each step."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, RunEngineControlException

from plans.correlative import Correlative
from plans.instrument import Scope
from plans.metadata import check_md
from plans.night_record import Night, Outcome, Unfinished
from plans.preflight import Estimate, Preflight, free_bytes, together
from plans.sheet import Sample, Sheet, SheetError, Step, Where, place, read_sheet
from plans.steps import KINDS, AnyCorrelative, Bench, NothingFoundError, Task, makers
from plans.stubs import Plan, exchange_specimen, make_safe
from plans.validation import did_you_mean

EXCHANGE = "exchange"


class _NextSampleError(Exception):
    """Skip the other steps of this specimen."""


class _StopError(Exception):
    """End the night."""


Keep = Callable[[Night], object]
InWords = Callable[[BaseException], str]


def check_sheet(scope: Scope, sheet: Sheet, bench: Bench, check_specimen: Callable[[str], object] = str) -> Preflight:
    """Check everything on a sheet that can be checked before the first step, and estimate the night.

    The estimate does not include the time of computations between the steps. SheetError names the first mistake.
    """
    flights: list[Preflight] = []
    for number, sample in enumerate(sheet.samples):
        if sample.specimen is not None:
            _checked(("samples", number, "specimen"), sample, check_specimen, sample.specimen)
            flights.append(_weigh_exchange(scope, sample))
        made: set[str] = set()
        for index, step in enumerate(sheet.steps_of(sample)):
            where = sheet.where(number, index)
            _check_step(step, where, made)
            made.update(KINDS[step.do].makes)
            flight = _checked(where, step.arguments, KINDS[step.do].weigh, scope, bench, step)
            if flight is not None and flight.problems:
                raise _error(where, step.arguments, flight.problems[0])
            if flight is not None:
                flights.append(replace(flight, plan=f"{sample.name}: {step.do}"))
    return together("night", flights)


def _check_step(step: Step, where: Where, made: set[str]) -> None:
    if step.do not in KINDS:
        raise SheetError((*where, "do"), f"there is no step {step.do!r}{did_you_mean(step.do, list(KINDS))}")
    kind = KINDS[step.do]
    if step.at is not None and not kind.at_roi:
        raise SheetError((*where, "at"), f"{step.do} cannot be placed at the ROI; leave it out")
    if step.retries and not kind.repeatable:
        raise SheetError((*where, "retries"), f"{step.do} changes the specimen and is never repeated; leave it out")
    for product in _needs(step):
        if product not in made:
            before = " or ".join(makers(product))
            raise SheetError(where, f"{step.do} needs a {before} before it on the same sample")


def _needs(step: Step) -> tuple[str, ...]:
    needs = KINDS[step.do].needs_of(step)
    return (*needs, "roi") if step.when == "roi_found" else needs


def _checked(where: Where, given: Any, check: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return check(*arguments)
    except ValueError as refused:
        raise _error(where, given, str(refused)) from None


def _error(where: Where, given: Any, sentence: str) -> SheetError:
    """Return the error at the setting that its sentence begins with, if the step has that setting."""
    name, colon, rest = sentence.partition(": ")
    if colon and isinstance(given, Mapping):
        for key in given:
            if name == key or name.endswith(f"_{key}"):  # messages of devices begin with widepix_exposure_s
                return _error((*where, key), given[key], rest)
    return SheetError(where, sentence)


def _weigh_exchange(scope: Scope, sample: Sample) -> Preflight:
    mounted = scope.specimen.get() == sample.specimen
    seconds = 0.0 if mounted else scope.settings.chamber.exchange_s
    return Preflight(f"{sample.name}: exchange", Estimate(seconds, 0.0, "specimen", 0), free_bytes(scope))


def night(
    scope: Scope,
    sheet: Sheet | Mapping[str, Any],
    *,
    bench: Bench,
    keep: Keep = lambda night: None,
    in_words: InWords = str,
    check_specimen: Callable[[str], object] = str,
    unfinished: Unfinished | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Night]:
    """Run the steps of a night sheet in order. The sheet decides whether a failed step is repeated, is skipped, or
    ends the night.

    Parameters
    ----------
    sheet : a Sheet, or the table of a TOML file.
    bench : the computations between the steps.
    keep : called with the record after every change and at the end; must not raise.
    in_words : converts an error to one sentence for the record.
    check_specimen : raises ValueError for a specimen that the instrument does not have.
    unfinished : an interrupted night of the same sheet. It continues with the first step that is not done; a
        measurement that was begun is completed, not repeated. Its record is continued.
    md : goes into every start document, with ``night_uid``, ``night_step`` (the number of the step's outcome),
        ``sample_name`` and ``experiment_uid``.

    Returns the record. Raises SheetError before anything moves. However the night ends, abort included, both beams are
    blanked and the target is parked; ``safe`` in the record is read from the instrument.
    """
    sheet = read_sheet(sheet)
    check_md(md)
    check_sheet(scope, sheet, bench, check_specimen)
    if unfinished is None:
        experiments = [str(uuid.uuid4()) for _ in sheet.samples]
        record = Night(str(uuid.uuid4()), sheet.title, list(_outcomes(sheet)), experiments=experiments)
    else:
        record = unfinished.record
        record.reopen()
    night_md = {**({"operator": sheet.operator} if sheet.operator else {}), **(md or {}), "night_uid": record.uid}
    numbers = iter(range(len(record.outcomes)))

    def everything() -> Plan[None]:
        for sample, experiment in zip(sheet.samples, record.experiments, strict=True):
            own = [next(numbers) for _ in range(len(sheet.steps_of(sample)) + (sample.specimen is not None))]
            so_far: AnyCorrelative = Correlative(experiment)
            turn = _Specimen(scope, sheet, sample, own, bench, record, keep, in_words, night_md, unfinished, so_far)
            with suppress(_NextSampleError):
                yield from turn.all_steps()

    def safe_end() -> Plan[None]:
        yield from make_safe(scope)
        electrons_off = yield from bps.rd(scope.beam.blanked)
        ions_off = yield from bps.rd(scope.fib.blanked)
        parked = (yield from bps.rd(scope.target.x_um)) <= scope.settings.target.park_x_um
        record.safe = bool(electrons_off and ions_off and parked)

    keep(record)
    try:
        yield from bpp.finalize_wrapper(everything(), safe_end)
        record.close("done")
    except _StopError as stop:
        record.close("stopped", str(stop))
    except BaseException as error:
        record.close("interrupted", in_words(error) or type(error).__name__)
        raise
    finally:
        keep(record)
    return record


def _outcomes(sheet: Sheet) -> Iterator[Outcome]:
    for number, sample in enumerate(sheet.samples):
        if sample.specimen is not None:
            yield Outcome(sample.name, EXCHANGE, place(("samples", number, "specimen")))
        for index, step in enumerate(sheet.steps_of(sample)):
            yield Outcome(sample.name, step.do, place(sheet.where(number, index)))


@dataclass
class _Specimen:
    """The steps of one specimen. ``numbers`` index its outcomes in the record, ``made`` is what its steps have made."""

    scope: Scope
    sheet: Sheet
    sample: Sample
    numbers: list[int]
    bench: Bench
    record: Night
    keep: Keep
    in_words: InWords
    night_md: Mapping[str, Any]
    unfinished: Unfinished | None
    so_far: AnyCorrelative
    made: set[str] = field(default_factory=set)

    @property
    def outcomes(self) -> list[Outcome]:
        return [self.record.outcomes[number] for number in self.numbers]

    def all_steps(self) -> Plan[None]:
        steps, numbers = self.sheet.steps_of(self.sample), list(self.numbers)
        if self.sample.specimen is not None:
            yield from self._exchange(self.record.outcomes[numbers.pop(0)], self.sample.specimen)
        needed = self._needed_again(dict(zip(numbers, steps, strict=True)))
        for number, step in zip(numbers, steps, strict=True):
            outcome = self.record.outcomes[number]
            if outcome.status == "waiting":
                yield from self._run(step, number)
            elif outcome.status == "failed":
                self._failed(step, outcome, outcome.said)
            elif outcome.status == "done":
                yield from self._recall(step, number, compute=number in needed)

    def _exchange(self, outcome: Outcome, specimen: str) -> Plan[None]:
        left = any(outcome.status == "waiting" for outcome in self.outcomes)
        mounted = yield from bps.rd(self.scope.specimen)
        if not left or (outcome.status == "done" and mounted == specimen):
            return
        failure = yield from self._attempt(outcome, lambda: exchange_specimen(self.scope, specimen))
        if failure is not None:  # the next steps would run on the wrong specimen
            self._go_on("next_sample" if self.sheet.on_failure != "stop" else "stop", failure, self.outcomes)

    def _run(self, step: Step, number: int) -> Plan[None]:
        outcome = self.record.outcomes[number]
        if obstacle := self._obstacle(step):
            outcome.status, outcome.said = "skipped", obstacle
            self.keep(self.record)
            return
        kind, task = KINDS[step.do], self._task(step, number)
        failure: str | None = ""
        for _ in range(1 + self.sheet.retries_of(step, kind.repeatable)):
            failure = yield from self._attempt(outcome, lambda: kind.run(task))
            if failure is None:
                self.made.update(kind.makes)
                return
        self._failed(step, outcome, failure or "")

    def _task(self, step: Step, number: int) -> Task:
        task = Task(self.scope, self.bench, self.so_far, step, self._md(number))
        if self.unfinished is None or number not in self.unfinished.begun:
            return task
        return replace(task, begun=self.unfinished.begun[number], finish=self.unfinished.finish)

    def _needed_again(self, steps: Mapping[int, Step]) -> set[int]:
        """Return the numbers of finished computations whose results the remaining steps need."""
        found: set[int] = set()
        products: set[str] = set()
        for number, step in reversed(list(steps.items())):
            kind, status = KINDS[step.do], self.record.outcomes[number].status
            if status == "done" and kind.computes in products:
                found.add(number)
            if status == "waiting" or number in found:
                products.update(_needs(step))
        return found

    def _recall(self, step: Step, number: int, compute: bool) -> Plan[None]:
        """Restore what a step has made before an interruption: look up its run, or repeat its computation."""
        kind, outcome, task = KINDS[step.do], self.record.outcomes[number], self._task(step, number)
        if not kind.resumable:
            return
        if kind.measures and task.begun is not None:
            self.so_far.uids[kind.measures] = task.begun
        try:
            if compute:
                yield from kind.run(replace(task, finish=None))
            self.made.update(kind.makes)
        except RunEngineControlException:
            raise
        except Exception as error:
            outcome.status, outcome.said = "failed", self.in_words(error) or type(error).__name__
            self.keep(self.record)
            self._failed(step, outcome, outcome.said)

    def _failed(self, step: Step, outcome: Outcome, failure: str) -> None:
        self.made.difference_update(KINDS[step.do].makes)
        rest = self.outcomes[self.outcomes.index(outcome) + 1 :]
        self._go_on(self.sheet.on_failure_of(step), failure, rest)

    def _go_on(self, policy: str, failure: str, rest: list[Outcome]) -> None:
        if policy == "stop":
            raise _StopError(failure)
        if policy == "next_sample":
            for outcome in rest:
                if outcome.status == "waiting":
                    outcome.status, outcome.said = "skipped", "an earlier step failed on this specimen"
            self.keep(self.record)
            raise _NextSampleError

    def _attempt(self, outcome: Outcome, begin: Callable[[], Plan[Any]]) -> Plan[str | None]:
        """Run a step once. Returns the reason when it failed, else None."""
        outcome.status, outcome.attempts = "running", outcome.attempts + 1
        outcome.began_s = outcome.began_s or time.time()
        began = yield from bps.rd(self.scope.time_s)
        self.keep(self.record)
        failure: str | None = None
        try:
            said = yield from _noting_runs(begin(), outcome.uids)
            outcome.status, outcome.said = "done", said or ""
        except RunEngineControlException:
            raise
        except NothingFoundError as nothing:
            outcome.status, outcome.said = "done", f"{nothing}; nothing was milled"
        except Exception as error:
            failure = self.in_words(error) or type(error).__name__
            outcome.status, outcome.said = "failed", failure
            yield from make_safe(self.scope)  # raises, and so ends the night, when the instrument cannot be made safe
        outcome.ended_s = time.time()
        outcome.instrument_s += (yield from bps.rd(self.scope.time_s)) - began
        self.keep(self.record)
        return failure

    def _obstacle(self, step: Step) -> str:
        """Return the reason to skip a step, or an empty string."""
        if step.when == "nothing_failed" and any(outcome.status == "failed" for outcome in self.outcomes):
            return "an earlier step failed on this specimen"
        needs = KINDS[step.do].needs_of(step)
        for product in needs:
            if product not in self.made:
                return f"there is no {product} to work on"
        if ("roi" in needs or step.when == "roi_found") and self.so_far.aim is None:
            return "no ROI was found"
        return ""

    def _md(self, number: int) -> dict[str, Any]:
        parents = [self.so_far.uids[name] for name in ("tomography", "milling") if name in self.so_far.uids]
        named = {"sample_name": self.sample.name, "experiment_uid": self.so_far.experiment_uid}
        return {**named, **self.night_md, "night_step": number, "parent_uids": parents}


def _noting_runs(plan: Plan[Any], uids: list[str]) -> Plan[Any]:
    """Run a plan and append the uid of each run when it opens, so that failed runs are in the record too."""

    def note(msg: Msg) -> tuple[Any, None]:
        def opening() -> Plan[str]:
            uid: str = yield msg
            uids.append(uid)
            return uid

        return (opening() if msg.command == "open_run" else None), None

    return (yield from bpp.plan_mutator(plan, note))
