"""Kinds of steps on a night sheet: what each runs, needs and makes, and how it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import bluesky.preprocessors as bpp

from plans.correlative import Aim, Correlative, correlative, pillar_image, typical_aim, weigh_correlative
from plans.deposition import deposit
from plans.imaging import eds_map, se_image, se_request
from plans.instrument import Scope
from plans.ions import sims_raster
from plans.milling import mill
from plans.preflight import Preflight, Request, weigh
from plans.requests import NOT_SETTABLE, REQUESTS, request_of
from plans.sheet import Step
from plans.stubs import Plan, in_background
from plans.tomography import tomography
from plans.validation import choice, did_you_mean, settable, shortened
from xrm_sims.patterns import Annulus, CrossSection, Milled, Polygon, Rectangle, pattern_from_dict

T = TypeVar("T")
Arguments = dict[str, Any]
AnyAim = Aim[Any]
AnyCorrelative = Correlative[Any, Any, Any]
Finish = Callable[[str], Plan[str | None]]  # uid of any part -> uid of the first one; None when the run is of no use
PATTERNS: dict[str, type[Milled]] = {shape.kind: shape for shape in (Rectangle, Polygon, Annulus, CrossSection)}
_COLUMN = ("current_pa", "voltage_kv")
_CORRELATIVE_TABLES = {"tomography": "tomography_args", "se": "se_args", "mill": "mill_args", "sims": "sims_args"}


class Computed(NamedTuple, Generic[T]):
    """The result of a computation, and a few words about it for the record."""

    value: T
    said: str


class Bench(Protocol):
    """The computations between the steps of a night. They run in a thread; each may take minutes.

    ``align`` and ``register`` are those of :func:`plans.correlative`. Each raises ValueError when its result would not
    be reliable.
    """

    def check(self, do: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError, beginning with the argument's name, for arguments that ``do`` cannot take.

        ``do`` is "reconstruct" or "find_rois".
        """

    @property
    def reconstruct(self) -> Callable[..., Computed[Any]]:
        """Tomography uid, arguments -> the volume for ``find_rois``."""

    @property
    def find_rois(self) -> Callable[..., Computed[Any]]:
        """Volume, arguments -> the Aim of the best ROI, or None when no ROI is good enough."""

    def align(self, aim: AnyAim, se_uid: str) -> Computed[AnyAim]: ...
    def verify(self, aim: AnyAim, se_uid: str) -> Computed[AnyAim]: ...
    def register(self, result: AnyCorrelative) -> Computed[Any]: ...


@dataclass(frozen=True)
class Task:
    """A step to run on a specimen, with the results of its earlier steps.

    begun : uid of the run that an interrupted night began for this step.
    finish : plan that completes that run; None when it is complete.
    """

    scope: Scope
    bench: Bench
    so_far: AnyCorrelative
    step: Step
    md: Mapping[str, Any]
    begun: str | None = None
    finish: Finish | None = None

    @property
    def arguments(self) -> Arguments:
        return self.step.arguments


@dataclass(frozen=True)
class Kind:
    """A kind of step.

    weigh : checks and estimates it.
    needs, makes : names of what has to exist before it, and exists after it.
    measures : key of its run in ``Correlative.uids``.
    computes : name of a result that is kept in memory only, so that a resumed night computes it again.
    resumable : an interrupted night can continue with it.
    """

    run: Callable[[Task], Plan[str]]
    weigh: Callable[[Scope, Bench, Step], Preflight | None]
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    at_roi: bool = False
    repeatable: bool = True
    measures: str = ""
    computes: str = ""
    resumable: bool = True

    def needs_of(self, step: Step) -> tuple[str, ...]:
        return (*self.needs, "roi") if step.at == "roi" else self.needs


class NothingFoundError(ValueError):
    """No ROI is good enough to mill to. The step has not failed."""


def _measure(task: Task, plan: Plan[str]) -> Plan[str]:
    """Run the plan, or complete the run of an interrupted night. Returns the uid."""
    uid = task.begun
    if uid is not None and task.finish is not None:
        uid = yield from bpp.inject_md_wrapper(task.finish(uid), dict(task.md))
    if uid is None:
        uid = yield from plan
    task.so_far.uids[KINDS[task.step.do].measures] = uid
    return uid


def _measuring(
    plan: Callable[..., Plan[str]], arguments: Callable[[Step, AnyAim | None], Arguments]
) -> Callable[[Task], Plan[str]]:
    def run(task: Task) -> Plan[str]:
        yield from _measure(task, plan(task.scope, **arguments(task.step, task.so_far.aim), md=task.md))
        return ""

    return run


def _reconstruct(task: Task) -> Plan[str]:
    uid = task.so_far.uids["tomography"]
    computed: Computed[Any] = yield from in_background(partial(task.bench.reconstruct, uid, **task.arguments))
    task.so_far.volume = computed.value
    return computed.said


def _find_rois(task: Task) -> Plan[str]:
    volume = task.so_far.volume
    computed: Computed[Any] = yield from in_background(partial(task.bench.find_rois, volume, **task.arguments))
    task.so_far.aim = computed.value
    return computed.said


def _align(task: Task) -> Plan[str]:
    uid = yield from _measure(
        task, se_image(task.scope, **pillar_image(task.scope.settings, task.arguments), md=task.md)
    )
    task.so_far.aim, said = yield from in_background(task.bench.align, task.so_far.chosen, uid)
    return said


def _register(task: Task) -> Plan[str]:
    task.so_far.registration, said = yield from in_background(task.bench.register, task.so_far)
    return said


def _correlative(task: Task) -> Plan[str]:
    if task.begun is not None:
        raise ValueError(
            "correlative: was interrupted during its measurements, and is not repeated because it mills; a night can "
            "continue after an interruption when the sheet lists its steps one by one"
        )
    said: list[str] = []

    def noted(computed: Computed[T]) -> T:
        said.append(computed.said)
        return computed.value

    def choose(volume: Any) -> AnyAim:
        aim: AnyAim | None = noted(found := task.bench.find_rois(volume))
        if aim is None:
            raise NothingFoundError(found.said)
        return aim

    arguments = {_CORRELATIVE_TABLES[name]: table for name, table in task.arguments.items()}
    result = yield from correlative(
        task.scope,
        reconstruct=lambda uid: noted(task.bench.reconstruct(uid)),
        choose=choose,
        align=lambda aim, uid: noted(task.bench.align(aim, uid)),
        verify=lambda aim, uid: noted(task.bench.verify(aim, uid)),
        register=lambda so_far: noted(task.bench.register(so_far)),
        **arguments,
        md=task.md,
    )
    vars(task.so_far).update(vars(result))
    return "; ".join(said)


def _field(step: Step, aim: AnyAim | None) -> Arguments:
    """Return the arguments of a measurement; those that are not given come from the ROI if the step is at it."""
    if step.at is None or aim is None:
        return step.arguments
    at_roi = aim.sims_args if step.do == "sims_raster" else {"source": "ion"}
    return {"fov_um": aim.fov_um, "centre_um": aim.centre_um, **at_roi, **step.arguments}


def _pattern(step: Step, aim: AnyAim | None) -> Arguments:
    """Return the arguments of milling or deposition: the ROI's box, or the pattern that the step describes."""
    column = {name: value for name, value in step.arguments.items() if name in _COLUMN}
    if step.at is not None and aim is not None:
        return {"pattern": aim.mill, **column}
    shape = {name: value for name, value in step.arguments.items() if name not in _COLUMN}
    return {"pattern": pattern_from_dict({"kind": "rectangle", **shape}), **column}


def _weigh(plan: Callable[..., Any]) -> Callable[..., Preflight]:
    def weigh_step(scope: Scope, bench: Bench, step: Step) -> Preflight:
        arguments = _field(step, typical_aim(scope.settings))
        return weigh(scope, step.do, lambda: request_of(plan, scope.settings, arguments, step.do))

    return weigh_step


def _weigh_align(scope: Scope, bench: Bench, step: Step) -> Preflight:
    def request() -> Request:
        whole = pillar_image(scope.settings)
        given = {"fov_um": whole["fov_um"], **step.arguments}
        settable(given, se_image, step.do, (*NOT_SETTABLE, "source", "centre_um"))
        return se_request(scope.settings, **{**whole, **step.arguments})

    return weigh(scope, step.do, request)


def _weigh_pattern(plan: Callable[..., Any]) -> Callable[..., Preflight]:
    def weigh_step(scope: Scope, bench: Bench, step: Step) -> Preflight:
        return weigh(scope, step.do, lambda: request(scope, step))

    def request(scope: Scope, step: Step) -> Request:
        column = {name: value for name, value in step.arguments.items() if name in _COLUMN}
        settable(column, plan, step.do, (*NOT_SETTABLE, "pattern"))
        shape = {name: value for name, value in step.arguments.items() if name not in (*_COLUMN, "kind")}
        kind = step.arguments.get("kind", "rectangle")
        choice("kind", kind, tuple(PATTERNS))
        if not step.at:
            settable(shape, PATTERNS[kind], f"a {kind}")
        elif others := [name for name in step.arguments if name not in _COLUMN]:
            raise ValueError(f"{others[0]}: place and depth come from the ROI; leave it out")
        return REQUESTS[plan](scope.settings, **_pattern(step, typical_aim(scope.settings)))

    return weigh_step


def _weigh_correlative(scope: Scope, bench: Bench, step: Step) -> Preflight:
    for name, table in step.arguments.items():
        if name not in _CORRELATIVE_TABLES:
            raise ValueError(f"{name}: {step.do} has no such setting{did_you_mean(name, list(_CORRELATIVE_TABLES))}")
        if not isinstance(table, Mapping):
            raise ValueError(f"{name}: needs a table of that plan's settings, got {shortened(table)}")
    return weigh_correlative(scope, **{_CORRELATIVE_TABLES[name]: table for name, table in step.arguments.items()})


def _weigh_computing(scope: Scope, bench: Bench, step: Step) -> None:
    bench.check(step.do, step.arguments)


def _weigh_register(scope: Scope, bench: Bench, step: Step) -> None:
    for name in step.arguments:
        raise ValueError(f"{name}: {step.do} has no settings; leave it out")


def _kind(plan: Callable[..., Plan[str]], measures: str, **facts: Any) -> Kind:
    return Kind(_measuring(plan, _field), _weigh(plan), measures=measures, **facts)


def _drawing(plan: Callable[..., Plan[str]], measures: str, **facts: Any) -> Kind:
    return Kind(_measuring(plan, _pattern), _weigh_pattern(plan), measures=measures, repeatable=False, **facts)


KINDS: dict[str, Kind] = {
    "tomography": _kind(tomography, "tomography", makes=("tomography",)),
    "reconstruct": Kind(_reconstruct, _weigh_computing, needs=("tomography",), makes=("volume",), computes="volume"),
    "find_rois": Kind(_find_rois, _weigh_computing, needs=("volume",), makes=("roi",), computes="roi"),
    "align": Kind(_align, _weigh_align, needs=("roi",), measures="se_before", computes="roi"),
    "mill": _drawing(mill, "milling", makes=("milling",), at_roi=True),
    "deposit": _drawing(deposit, "deposition"),
    "sims_raster": _kind(sims_raster, "sims", makes=("sims",), at_roi=True),
    "se_image": _kind(se_image, "se_image", at_roi=True),
    "eds_map": _kind(eds_map, "eds_map"),
    "register": Kind(_register, _weigh_register, needs=("roi", "milling", "sims")),
    "correlative": Kind(
        _correlative,
        _weigh_correlative,
        makes=("tomography", "volume", "roi", "milling", "sims"),
        repeatable=False,
        resumable=False,
    ),
}


def makers(product: str) -> Sequence[str]:
    """Return the kinds of step that make something."""
    return [name for name, kind in KINDS.items() if product in kind.makes]
