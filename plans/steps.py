"""What a step of a night sheet may do: its plan or computation, what it needs, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import bluesky.preprocessors as bpp

from plans.correlative import Aim, Correlative, correlative, pillar_image, typical_aim, weigh_correlative
from plans.deposition import Deposition, deposit
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.instrument import Scope
from plans.ions import sims_raster, sims_request
from plans.milling import Milling, mill
from plans.preflight import Preflight, weigh
from plans.sheet import Step
from plans.stubs import Plan, in_background
from plans.tomography import TomographyScan, tomography
from plans.validation import choice, did_you_mean, settable, shortened
from xrm_sims.patterns import Annulus, CrossSection, Milled, Polygon, Rectangle, pattern_from_dict

T = TypeVar("T")
Arguments = dict[str, Any]
AnyAim = Aim[Any]
AnyCorrelative = Correlative[Any, Any, Any]
Finish = Callable[[str], Plan[str | None]]  # uid of any part -> uid of the first one; None: nothing of it can be used
MILLED: dict[str, type[Milled]] = {shape.kind: shape for shape in (Rectangle, Polygon, Annulus, CrossSection)}
NOT_ON_A_SHEET = ("scope", "md", "enough")
_COLUMN = ("current_pa", "voltage_kv")
_OF_CORRELATIVE = {"tomography": "tomography_args", "se": "se_args", "mill": "mill_args", "sims": "sims_args"}


class Computed(NamedTuple, Generic[T]):
    """The result of a computation, and a few words about it for the record."""

    value: T
    said: str


class Bench(Protocol):
    """What is computed between the steps of a night, beside the RunEngine; every call may take minutes.

    ``align`` and ``register`` are those of :func:`~plans.correlative`. A call that cannot do its work honestly raises
    ValueError with one sentence.
    """

    def check(self, do: str, arguments: Mapping[str, Any]) -> None:
        """ValueError, beginning with the argument's name, when ``reconstruct`` or ``find_rois`` cannot take these."""
        ...

    @property
    def reconstruct(self) -> Callable[..., Computed[Any]]:
        """Tomography uid, arguments -> the volume, whatever ``find_rois`` understands."""
        ...

    @property
    def find_rois(self) -> Callable[..., Computed[Any]]:
        """Volume, arguments -> the Aim of the best ROI; None, with the reason in words, when none is worth it."""
        ...

    def align(self, aim: AnyAim, se_uid: str) -> Computed[AnyAim]: ...

    def verify(self, aim: AnyAim, se_uid: str) -> Computed[AnyAim]: ...

    def register(self, result: AnyCorrelative) -> Computed[Any]: ...


@dataclass(frozen=True)
class Task:
    """A step, on which instrument, after what has been done to the same specimen.

    ``begun`` is the run that an interrupted night had of it already: ``finish`` takes what that one is missing, and is
    None where nothing is missing any more.
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
    """``needs`` and ``makes`` name what has to be there before and is there after. ``weigh`` checks and estimates.

    ``measures`` is the name under which its run is noted, ``computes`` what only the process knows of what it made.
    ``resumable``: an interrupted night goes on with it.
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


def _measure(task: Task, plan: Plan[str]) -> Plan[str]:
    """The plan, or what an interrupted night left of it; its uid is noted. Returns the uid."""
    uid = task.begun
    if uid is not None and task.finish is not None:
        uid = yield from bpp.inject_md_wrapper(task.finish(uid), dict(task.md))
    if uid is None:
        uid = yield from plan
    task.so_far.uids[KINDS[task.step.do].measures] = uid
    return uid


def _tomography(task: Task) -> Plan[str]:
    yield from _measure(task, tomography(task.scope, **task.arguments, md=task.md))
    return ""


def _reconstruct(task: Task) -> Plan[str]:
    uid = task.so_far.uids["tomography"]
    computed: Computed[Any] = yield from in_background(_call, task.bench.reconstruct, task.arguments, uid)
    task.so_far.volume = computed.value
    return computed.said


def _find_rois(task: Task) -> Plan[str]:
    volume = task.so_far.volume
    computed: Computed[Any] = yield from in_background(_call, task.bench.find_rois, task.arguments, volume)
    task.so_far.aim = computed.value
    return computed.said


def _align(task: Task) -> Plan[str]:
    image = pillar_image(task.scope.settings) | task.arguments
    uid = yield from _measure(task, se_image(task.scope, **image, md=task.md))
    task.so_far.aim, said = yield from in_background(task.bench.align, task.so_far.aim, uid)
    return said


def _mill(task: Task) -> Plan[str]:
    pattern, column = _milling(task.arguments, task.so_far.aim if task.step.at else None)
    yield from _measure(task, mill(task.scope, pattern, **column, md=task.md))
    return ""


def _deposit(task: Task) -> Plan[str]:
    pattern, column = _milling(task.arguments, None)
    yield from _measure(task, deposit(task.scope, pattern, **column, md=task.md))
    return ""


def _sims(task: Task) -> Plan[str]:
    field = _field(task.step, task.so_far.aim)
    yield from _measure(task, sims_raster(task.scope, **field, md=task.md))
    return ""


def _se(task: Task) -> Plan[str]:
    field = _field(task.step, task.so_far.aim)
    yield from _measure(task, se_image(task.scope, **field, md=task.md))
    return ""


def _eds(task: Task) -> Plan[str]:
    yield from _measure(task, eds_map(task.scope, **task.arguments, md=task.md))
    return ""


def _register(task: Task) -> Plan[str]:
    task.so_far.registration, said = yield from in_background(task.bench.register, task.so_far)
    return said


class NothingFoundError(ValueError):
    """There is no ROI worth digging for: no failure of anything."""


def _correlative(task: Task) -> Plan[str]:
    if task.begun is not None:
        raise ValueError(
            "correlative: was interrupted after it had begun to measure, and mills, so it is not done twice; "
            "with its steps one by one on the sheet an interrupted night goes on with them"
        )
    said: list[str] = []

    def heard(computed: Computed[T]) -> T:
        said.append(computed.said)
        return computed.value

    def choose(volume: Any) -> AnyAim:
        aim: AnyAim | None = heard(found := task.bench.find_rois(volume))
        if aim is None:
            raise NothingFoundError(found.said)
        return aim

    arguments = {_OF_CORRELATIVE[name]: table for name, table in task.arguments.items()}
    result = yield from correlative(
        task.scope,
        reconstruct=lambda uid: heard(task.bench.reconstruct(uid)),
        choose=choose,
        align=lambda aim, uid: heard(task.bench.align(aim, uid)),
        verify=lambda aim, uid: heard(task.bench.verify(aim, uid)),
        register=lambda so_far: heard(task.bench.register(so_far)),
        **arguments,
        md=task.md,
    )
    vars(task.so_far).update(vars(result))
    return "; ".join(said)


def _call(function: Callable[..., Any], arguments: Arguments, *first: Any) -> Any:
    return function(*first, **arguments)


def _field(step: Step, aim: AnyAim | None) -> Arguments:
    """The arguments of an image or a raster, at the ROI unless they say otherwise."""
    if step.at is None or aim is None:
        return step.arguments
    how = aim.sims_args if step.do == "sims_raster" else {"source": "ion"}
    return {"fov_um": aim.fov_um, "centre_um": aim.centre_um, **how, **step.arguments}


def _milling(arguments: Arguments, aim: AnyAim | None) -> tuple[Any, Arguments]:
    column = {name: arguments[name] for name in _COLUMN if name in arguments}
    if aim is not None:
        return aim.mill, column
    rest = {name: value for name, value in arguments.items() if name not in _COLUMN}
    return pattern_from_dict({"kind": "rectangle", **rest}), column


def _weigh(
    plan: Callable[..., Any], request: Callable[..., Any], with_settings: bool = True
) -> Callable[..., Preflight]:
    def weigh_step(scope: Scope, bench: Bench, step: Step) -> Preflight:
        arguments = _field(step, typical_aim(scope.settings))

        def asked() -> Any:
            settable(arguments, plan, step.do, NOT_ON_A_SHEET)
            return request(scope.settings, **arguments) if with_settings else request(**arguments)

        return weigh(scope, step.do, asked)

    return weigh_step


def _weigh_align(scope: Scope, bench: Bench, step: Step) -> Preflight:
    def asked() -> Any:
        whole = pillar_image(scope.settings)
        settable(
            {"fov_um": whole["fov_um"], **step.arguments}, se_image, step.do, (*NOT_ON_A_SHEET, "source", "centre_um")
        )
        return se_request(scope.settings, **{**whole, **step.arguments})

    return weigh(scope, step.do, asked)


def _weigh_pattern(plan: Callable[..., Any], request: Callable[..., Any]) -> Callable[..., Preflight]:
    def weigh_step(scope: Scope, bench: Bench, step: Step) -> Preflight:
        return weigh(scope, step.do, lambda: asked(scope, step))

    def asked(scope: Scope, step: Step) -> Any:
        column = {name: value for name, value in step.arguments.items() if name in _COLUMN}
        settable(column, plan, step.do, (*NOT_ON_A_SHEET, "pattern"))
        box = {name: value for name, value in step.arguments.items() if name not in (*_COLUMN, "kind")}
        kind = step.arguments.get("kind", "rectangle")
        choice("kind", kind, tuple(MILLED))
        if not step.at:
            settable(box, MILLED[kind], f"a {kind}")
        elif others := [name for name in step.arguments if name not in _COLUMN]:
            raise ValueError(f"{others[0]}: the ROI says where and how deep; leave it out")
        pattern, column = _milling(step.arguments, typical_aim(scope.settings) if step.at else None)
        return request(scope.settings, pattern, **column)

    return weigh_step


def _weigh_correlative(scope: Scope, bench: Bench, step: Step) -> Preflight:
    for name, table in step.arguments.items():
        if name not in _OF_CORRELATIVE:
            raise ValueError(f"{name}: {step.do} has no such setting{did_you_mean(name, list(_OF_CORRELATIVE))}")
        if not isinstance(table, Mapping):
            raise ValueError(f"{name}: needs a table of that plan's settings, got {shortened(table)}")
    return weigh_correlative(scope, **{_OF_CORRELATIVE[name]: table for name, table in step.arguments.items()})


def _weigh_computing(scope: Scope, bench: Bench, step: Step) -> None:
    bench.check(step.do, step.arguments)


def _weigh_register(scope: Scope, bench: Bench, step: Step) -> None:
    for name in step.arguments:
        raise ValueError(f"{name}: {step.do} has no settings; leave it out")


KINDS: dict[str, Kind] = {
    "tomography": Kind(
        _tomography,
        _weigh(tomography, TomographyScan, with_settings=False),
        makes=("tomography",),
        measures="tomography",
    ),
    "reconstruct": Kind(_reconstruct, _weigh_computing, needs=("tomography",), makes=("volume",), computes="volume"),
    "find_rois": Kind(_find_rois, _weigh_computing, needs=("volume",), makes=("roi",), computes="roi"),
    "align": Kind(_align, _weigh_align, needs=("roi",), measures="se_before", computes="roi"),
    "mill": Kind(
        _mill,
        _weigh_pattern(mill, Milling.requested),
        makes=("milling",),
        at_roi=True,
        repeatable=False,
        measures="milling",
    ),
    "deposit": Kind(_deposit, _weigh_pattern(deposit, Deposition.requested), repeatable=False, measures="deposition"),
    "sims_raster": Kind(_sims, _weigh(sims_raster, sims_request), makes=("sims",), at_roi=True, measures="sims"),
    "se_image": Kind(_se, _weigh(se_image, se_request), at_roi=True, measures="se_image"),
    "eds_map": Kind(_eds, _weigh(eds_map, eds_request), measures="eds_map"),
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
    """The kinds of step that make something."""
    return [name for name, kind in KINDS.items() if product in kind.makes]
