"""A night unattended: specimen by specimen, step by step, and a record of what came of each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, RunEngineControlException

from plans.correlative import Correlative
from plans.metadata import check_md
from plans.preflight import Estimate, Preflight, free_bytes, together
from plans.sheet import Sample, Sheet, SheetError, Step, Where, place, read_sheet
from plans.steps import KINDS, Bench, NothingFoundError, Task, makers
from plans.stubs import Plan, exchange_specimen, make_safe
from plans.validation import did_you_mean

EXCHANGE = "exchange"


@dataclass
class Outcome:
    """What came of one step: ``status`` is waiting, running, done, failed, skipped or interrupted."""

    sample: str
    do: str
    where: str = ""
    status: str = "waiting"
    attempts: int = 0
    uids: list[str] = field(default_factory=list)
    said: str = ""
    began_s: float | None = None
    ended_s: float | None = None
    instrument_s: float = 0.0


@dataclass
class Night:
    """The record of a night: ``state`` is running, done, stopped (as the sheet asked for) or interrupted.

    Times are seconds since the epoch, ``instrument_s`` seconds on the instrument's own clock.
    """

    uid: str
    title: str
    outcomes: list[Outcome]
    state: str = "running"
    why: str = ""
    safe: bool | None = None
    began_s: float = field(default_factory=time.time)
    ended_s: float | None = None

    def count(self, status: str) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def now(self) -> Outcome | None:
        """The step that is under way."""
        return next((outcome for outcome in self.outcomes if outcome.status == "running"), None)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class _NextSampleError(Exception):
    """Nothing more with this specimen."""


class _StopError(Exception):
    """Nothing more tonight."""


Keep = Callable[[Night], object]
InWords = Callable[[BaseException], str]


def check_sheet(scope: Any, sheet: Sheet, bench: Bench, check_specimen: Callable[[str], object] = str) -> Preflight:
    """Everything that can be refused before the first step, and what the night will take.

    Computations between the steps take time that nobody knows beforehand; it is not in the estimate. SheetError names
    the first thing that cannot be done.
    """
    weighed: list[Preflight] = []
    for number, sample in enumerate(sheet.samples):
        if sample.specimen is not None:
            _refusing(("samples", number, "specimen"), sample, check_specimen, sample.specimen)
            weighed.append(_exchange_weighed(scope, sample))
        there: set[str] = set()
        for index, step in enumerate(sheet.steps_of(sample)):
            where = sheet.where(number, index)
            _check_step(step, where, there)
            there.update(KINDS[step.do].makes)
            flight = _refusing(where, step.arguments, KINDS[step.do].weigh, scope, bench, step)
            if flight is not None and flight.problems:
                raise _error(where, step.arguments, flight.problems[0])
            if flight is not None:
                weighed.append(_named(flight, f"{sample.name}: {step.do}"))
    return together("night", weighed)


def _check_step(step: Step, where: Where, there: set[str]) -> None:
    if step.do not in KINDS:
        raise SheetError((*where, "do"), f"there is no step {step.do!r}{did_you_mean(step.do, list(KINDS))}")
    kind = KINDS[step.do]
    if step.at is not None and not kind.at_roi:
        raise SheetError((*where, "at"), f"{step.do} cannot be told to go to the ROI; leave it out")
    if step.retries and not kind.repeatable:
        raise SheetError(
            (*where, "retries"), f"{step.do} adds to what it did before and is never tried again; leave it out"
        )
    needed = [*kind.needs_of(step), *(["roi"] if step.when == "roi_found" else [])]
    for product in needed:
        if product not in there:
            before = " or ".join(makers(product))
            raise SheetError(where, f"{step.do} needs a {before} before it on the same sample")


def _refusing(where: Where, given: Any, check: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return check(*arguments)
    except ValueError as refused:
        raise _error(where, given, str(refused)) from None


def _error(where: Where, given: Any, sentence: str) -> SheetError:
    """A refusal at the line of the setting that its sentence begins with, if the step has it."""
    name, colon, rest = sentence.partition(": ")
    if colon and isinstance(given, Mapping):
        for key in given:
            if name == key or name.endswith(f"_{key}"):  # a device says widepix_exposure_s
                return _error((*where, key), given[key], rest)
    return SheetError(where, sentence)


def _named(flight: Preflight, name: str) -> Preflight:
    return Preflight(name, flight.estimate, flight.disk_free_bytes, flight.problems, flight.parts)


def _exchange_weighed(scope: Any, sample: Sample) -> Preflight:
    mounted = scope.specimen.get() == sample.specimen
    seconds = 0.0 if mounted else scope.settings.chamber.exchange_s
    return Preflight(f"{sample.name}: exchange", Estimate(seconds, 0.0, "specimen", 0), free_bytes(scope))


def night(
    scope: Any,
    sheet: Sheet | Mapping[str, Any],
    *,
    bench: Bench,
    keep: Keep = lambda night: None,
    in_words: InWords = str,
    check_specimen: Callable[[str], object] = str,
    md: Mapping[str, Any] | None = None,
) -> Plan[Night]:
    """Everything on a night sheet, in its order; what fails is tried again, left out or ends the night, as it says.

    Parameters
    ----------
    sheet : a Sheet, or a table as a TOML file has it.
    bench : what is computed between the steps.
    keep : told of the record after every change, and at the end, however it comes; it must not raise.
    in_words : an error as one sentence, for the record.
    check_specimen : ValueError for a specimen that the instrument cannot be given.
    md : goes into every start document, with ``night_uid``, ``sample_name`` and ``experiment_uid``.

    Returns the record. SheetError before anything moves. Whatever happens, an abort included, both beams end blanked
    and the target parked, and the record says so.
    """
    sheet = read_sheet(sheet)
    check_md(md)
    check_sheet(scope, sheet, bench, check_specimen)
    record = Night(str(uuid.uuid4()), sheet.title, list(_waiting(sheet)))
    words = {**({"operator": sheet.operator} if sheet.operator else {}), **(md or {}), "night_uid": record.uid}
    outcomes = iter(record.outcomes)

    def everything() -> Plan[None]:
        for sample in sheet.samples:
            steps = sheet.steps_of(sample)
            mine = [next(outcomes) for _ in range(len(steps) + (sample.specimen is not None))]
            try:
                yield from _Specimen(scope, sheet, sample, mine, bench, record, keep, in_words, words).all_steps()
            except _NextSampleError:
                continue

    def safe_end() -> Plan[None]:
        yield from make_safe(scope)
        electrons_off = yield from bps.rd(scope.beam.blanked)
        ions_off = yield from bps.rd(scope.fib.blanked)
        parked = (yield from bps.rd(scope.target.x_um)) <= scope.settings.target.park_x_um
        record.safe = bool(electrons_off and ions_off and parked)

    def with_record() -> Plan[None]:
        keep(record)
        try:
            yield from bpp.finalize_wrapper(everything(), safe_end)
            record.state = "done"
        except _StopError as stop:
            record.state, record.why = "stopped", str(stop)
        except BaseException as error:
            record.state, record.why = "interrupted", in_words(error) or type(error).__name__
            raise
        finally:
            record.ended_s = time.time()
            _close(record)
            keep(record)

    yield from with_record()
    return record


def _waiting(sheet: Sheet) -> Iterator[Outcome]:
    for number, sample in enumerate(sheet.samples):
        if sample.specimen is not None:
            yield Outcome(sample.name, EXCHANGE, place(("samples", number, "specimen")))
        for index, step in enumerate(sheet.steps_of(sample)):
            yield Outcome(sample.name, step.do, place(sheet.where(number, index)))


def _close(record: Night) -> None:
    """What the end of the night leaves of steps that did not come to their own."""
    for outcome in record.outcomes:
        if outcome.status == "running":
            outcome.status, outcome.said, outcome.ended_s = "interrupted", record.why, record.ended_s
        elif outcome.status == "waiting":
            outcome.status, outcome.said = "skipped", outcome.said or f"the night was {record.state} before"


@dataclass
class _Specimen:
    """One specimen's turn."""

    scope: Any
    sheet: Sheet
    sample: Sample
    outcomes: list[Outcome]
    bench: Bench
    record: Night
    keep: Keep
    in_words: InWords
    words: Mapping[str, Any]
    so_far: Correlative = field(default_factory=lambda: Correlative(str(uuid.uuid4())))
    there: set[str] = field(default_factory=set)

    def all_steps(self) -> Plan[None]:
        outcomes = list(self.outcomes)
        if self.sample.specimen is not None:
            exchange = exchange_specimen(self.scope, self.sample.specimen)
            failure = yield from self._attempt(outcomes.pop(0), lambda: exchange)
            if failure is not None:  # everything after it would be done to the wrong specimen
                self._go_on("next_sample" if self.sheet.on_failure != "stop" else "stop", failure, outcomes)
        for step, outcome in zip(self.sheet.steps_of(self.sample), outcomes, strict=True):
            yield from self._one(step, outcome)

    def _one(self, step: Step, outcome: Outcome) -> Plan[None]:
        if obstacle := self._obstacle(step):
            outcome.status, outcome.said = "skipped", obstacle
            self.keep(self.record)
            return
        kind = KINDS[step.do]
        task = Task(self.scope, self.bench, self.so_far, step, self._md())
        failure: str | None = ""
        for _ in range(1 + self.sheet.retries_of(step, kind.repeatable)):
            failure = yield from self._attempt(outcome, lambda: kind.run(task))
            if failure is None:
                self.there.update(kind.makes)
                return
        self.there.difference_update(kind.makes)
        rest = self.outcomes[self.outcomes.index(outcome) + 1 :]
        self._go_on(self.sheet.on_failure_of(step), failure or "", rest)

    def _go_on(self, policy: str, failure: str, rest: list[Outcome]) -> None:
        if policy == "stop":
            raise _StopError(failure)
        if policy == "next_sample":
            for outcome in rest:
                outcome.status, outcome.said = "skipped", "an earlier step failed on this specimen"
            self.keep(self.record)
            raise _NextSampleError

    def _attempt(self, outcome: Outcome, begin: Callable[[], Plan[Any]]) -> Plan[str | None]:
        """Once; why it failed, or None."""
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
            yield from make_safe(self.scope)  # an instrument that cannot be made safe ends the night
        outcome.ended_s = time.time()
        outcome.instrument_s += (yield from bps.rd(self.scope.time_s)) - began
        self.keep(self.record)
        return failure

    def _obstacle(self, step: Step) -> str:
        """Why this step cannot or shall not be done now; empty when nothing is in the way."""
        if step.when == "nothing_failed" and any(outcome.status == "failed" for outcome in self.outcomes):
            return "an earlier step failed on this specimen"
        needs = KINDS[step.do].needs_of(step)
        for product in needs:
            if product not in self.there:
                return f"there is no {product} to work on"
        if ("roi" in needs or step.when == "roi_found") and self.so_far.aim is None:
            return "no ROI was found"
        return ""

    def _md(self) -> dict[str, Any]:
        parents = [self.so_far.uids[name] for name in ("tomography", "milling") if name in self.so_far.uids]
        named = {"sample_name": self.sample.name, "experiment_uid": self.so_far.experiment_uid}
        return {**named, **self.words, "parent_uids": parents}


def _noting_runs(plan: Plan[Any], uids: list[str]) -> Plan[Any]:
    """The plan; the uids of the runs it opens are noted as they come, so that a failed step tells of its run too."""

    def note(msg: Msg) -> tuple[Any, None]:
        def opening() -> Plan[str]:
            uid = yield msg
            uids.append(uid)
            return uid

        return (opening() if msg.command == "open_run" else None), None

    return (yield from bpp.plan_mutator(plan, note))
