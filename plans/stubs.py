"""Plan stubs shared by the measurement plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Stageable
from bluesky.utils import IllegalMessageSequence, Msg

from plans.instrument import Scope, Values
from plans.metadata import check_md, start_md

T = TypeVar("T")
Plan = Generator[Msg, Any, T]

_background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="between-steps")


class NothingLeftError(ValueError):
    """Nothing is missing in the measurement that should be resumed."""


def blank(scope: Scope) -> Plan[None]:
    """Blank both beams."""
    yield from bps.mv(scope.beam.blanked, True, scope.fib.blanked, True)


def park_target(scope: Scope) -> Plan[None]:
    """Move the X-ray target straight back to its parking position."""
    yield from bps.mv(scope.target.x_um, scope.settings.target.park_x_um)


def make_safe(scope: Scope) -> Plan[None]:
    """Blank both beams and park the target; the target is parked even if blanking fails."""
    yield from bpp.finalize_wrapper(blank(scope), lambda: park_target(scope))


def enter_mode(scope: Scope, mode: str) -> Plan[None]:
    """Make the instrument safe, then change its mode if it is in another one."""
    yield from make_safe(scope)
    if (yield from bps.rd(scope.mode)) != mode:
        yield from bps.mv(scope.mode, mode)


def exchange_specimen(scope: Scope, name: str) -> Plan[None]:
    """Exchange the mounted specimen for another one. Nothing moves if that one is mounted already."""
    if (yield from bps.rd(scope.specimen)) == name:
        return
    yield from make_safe(scope)
    yield from bps.mv(scope.stage.bias_v, 0.0, scope.stage.tilt_deg, 0.0)
    yield from enter_mode(scope, "transfer")
    yield from bps.mv(scope.specimen, name)


def bring_target_in(scope: Scope, material: str) -> Plan[None]:
    """Move a target of this material to the source position of the geometry, after exchanging it if necessary."""
    if (yield from bps.rd(scope.target.material)) != material:
        yield from bps.mv(scope.target.material, material)
    yield from bps.mv(scope.target.y_um, 0.0, scope.target.z_um, 0.0)
    yield from bps.mv(scope.target.x_um, -1e3 * scope.settings.xray.source_object_mm)


def check_values(values: Values) -> None:
    """Check values against the devices' own limits; nothing moves."""
    for quantity, value in values.items():
        quantity.check_value(value)


def record(
    scope: Scope,
    mode: str,
    optics: Values,
    measure: Plan[str | None],
    detectors: Sequence[Stageable],
    describe: Callable[[], dict[str, Any]],
    md: Mapping[str, Any] | None,
    *,
    prepare: Plan[None] | None = None,
) -> Plan[str]:
    """Enter the mode, set the optics, prepare, then measure as one run. Returns its uid.

    The run has the detectors staged, and the state of the instrument before and after as ``baseline``. ``describe``
    returns the plan's part of the start document once the instrument is set up. A text that ``measure`` returns becomes
    the ``reason`` in the stop document. However the plan ends (an exception, abort, stop), both beams are blanked, the
    final state is recorded, and the target is parked.
    """
    check_md(md)
    reason: str | None = None

    def run() -> Plan[None]:
        nonlocal reason
        yield from bps.trigger_and_read([scope], name="baseline")
        yield from bps.checkpoint()
        try:
            reason = yield from measure
        except Exception:
            with suppress(Exception):  # the user has to see the error of the measurement, not one of these
                yield from blank(scope)
                with suppress(IllegalMessageSequence):  # raised if no event was begun
                    yield from bps.drop()
                yield from bps.trigger_and_read([scope], name="baseline")
            raise
        yield from bps.trigger_and_read([scope], name="baseline")

    def with_reason(msg: Msg) -> Msg:
        without = msg.command == "close_run" and msg.kwargs.get("reason") is None
        return msg._replace(kwargs=msg.kwargs | {"reason": reason}) if without else msg

    def everything() -> Plan[Any]:
        yield from bps.checkpoint()  # a plan without a checkpoint cannot be suspended
        yield from enter_mode(scope, mode)
        yield from bps.mv(*(item for pair in optics.items() for item in pair))
        if prepare is not None:
            yield from prepare
        one_run = bpp.msg_mutator(bpp.run_wrapper(run(), md=start_md(scope, describe(), md)), with_reason)
        return (yield from bpp.stage_wrapper(one_run, detectors))

    uid: str = yield from bpp.finalize_wrapper(everything(), lambda: make_safe(scope))
    return uid


def in_background(function: Callable[..., T], *args: Any) -> Plan[T]:
    """Compute in a thread, so that the RunEngine can pause meanwhile; a pause does not repeat the computation."""
    future: Future[T] = _background.submit(function, *args)

    async def follow() -> None:
        await asyncio.wait([asyncio.wrap_future(future)])

    yield from bps.checkpoint()
    yield from bps.wait_for([follow])
    return future.result()
