"""Short plans that the long ones are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Stageable
from bluesky.utils import IllegalMessageSequence, Msg

from plans.instrument import Scope, Values

T = TypeVar("T")
Plan = Generator[Msg, Any, T]

_background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="between-steps")


class NothingLeftError(ValueError):
    """A measurement that is to be resumed is missing nothing that could still be taken."""


def blank(scope: Scope) -> Plan[None]:
    """Both beams off."""
    yield from bps.mv(scope.beam.blanked, True, scope.fib.blanked, True)


def park_target(scope: Scope) -> Plan[None]:
    """Draw the X-ray target straight back to its parking position."""
    yield from bps.mv(scope.target.x_um, scope.settings.target.park_x_um)


def make_safe(scope: Scope) -> Plan[None]:
    """Both beams off and the target parked; the target is parked even if blanking fails."""
    yield from bpp.finalize_wrapper(blank(scope), lambda: park_target(scope))


def enter_mode(scope: Scope, mode: str) -> Plan[None]:
    """Change the instrument's mode if it is another one, from a safe state."""
    yield from make_safe(scope)
    if (yield from bps.rd(scope.mode)) != mode:
        yield from bps.mv(scope.mode, mode)


def exchange_specimen(scope: Scope, name: str) -> Plan[None]:
    """Another specimen in place of the one that is mounted, from a safe state; nothing moves when it is mounted."""
    if (yield from bps.rd(scope.specimen)) == name:
        return
    yield from make_safe(scope)
    yield from bps.mv(scope.stage.bias_v, 0.0, scope.stage.tilt_deg, 0.0)
    yield from enter_mode(scope, "transfer")
    yield from bps.mv(scope.specimen, name)


def bring_target_in(scope: Scope, material: str) -> Plan[None]:
    """Put a target of this material where the geometry expects the focal spot; exchange it first if need be."""
    if (yield from bps.rd(scope.target.material)) != material:
        yield from bps.mv(scope.target.material, material)
    yield from bps.mv(scope.target.y_um, 0.0, scope.target.z_um, 0.0)
    yield from bps.mv(scope.target.x_um, -1e3 * scope.settings.xray.source_object_mm)


def check_values(values: Values) -> None:
    """Every device's own limits, asked before anything moves."""
    for signal, value in values.items():
        signal.check_value(value)


def apply(values: Values) -> Plan[None]:
    """Set devices to values, all at once."""
    yield from bps.mv(*(item for pair in values.items() for item in pair))


def record(
    scope: Scope,
    setup: Plan[None],
    measure: Plan[str | None],
    detectors: Sequence[Stageable],
    describe: Callable[[], dict[str, Any]],
) -> Plan[str]:
    """Set up, then one run: detectors staged, the instrument's state before and after as ``baseline``. Returns its uid.

    ``describe`` gives the start document once the instrument is set up; what ``measure`` returns, if anything, is the
    ``reason`` in the stop document. Whatever happens (an exception, abort, stop) both beams end blanked, the run knows
    the state in which it left the instrument, and the target is parked.
    """
    reason: str | None = None

    def run() -> Plan[None]:
        nonlocal reason
        yield from bps.trigger_and_read([scope], name="baseline")
        yield from bps.checkpoint()
        try:
            reason = yield from measure
        except Exception:
            with suppress(Exception):  # what ended the measurement is what the user has to hear
                yield from blank(scope)
                with suppress(IllegalMessageSequence):  # an event may have been begun
                    yield from bps.drop()
                yield from bps.trigger_and_read([scope], name="baseline")
            raise
        yield from bps.trigger_and_read([scope], name="baseline")

    def with_reason(msg: Msg) -> Msg:
        untold = msg.command == "close_run" and msg.kwargs.get("reason") is None
        return msg._replace(kwargs=msg.kwargs | {"reason": reason}) if untold else msg

    def everything() -> Plan[Any]:
        yield from bps.checkpoint()  # a plan that has none cannot be suspended
        yield from setup
        one_run = bpp.msg_mutator(bpp.run_wrapper(run(), md=describe()), with_reason)
        return (yield from bpp.stage_wrapper(one_run, detectors))

    uid: str = yield from bpp.finalize_wrapper(everything(), lambda: make_safe(scope))
    return uid


def in_background(function: Callable[..., T], *args: Any) -> Plan[T]:
    """Compute beside the RunEngine, which stays free to pause; a pause does not compute anything twice."""
    future: Future[T] = _background.submit(function, *args)

    async def follow() -> None:
        await asyncio.wait([asyncio.wrap_future(future)])

    yield from bps.checkpoint()
    yield from bps.wait_for([follow])
    return future.result()
