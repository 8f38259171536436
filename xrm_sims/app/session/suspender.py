"""Suspends the plan under way while beam current, vacuum or detector temperature are out of bounds.

The RunEngine stops what moves, the instrument blanks its beams, and once everything has been right again for a while
the plan goes on from its last checkpoint: the frame under way is taken again. All waiting is done in the instrument's
own time, which on a fast clock costs none.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import RunEngine
from bluesky.suspenders import SuspenderBase
from ophyd import Component, Device, Signal

from devices import Instrument

logger = logging.getLogger(__name__)
STREAM = "suspensions"


class Suspension(Device):
    """What the stream ``suspensions`` says of one: why, and from when to when on the instrument's clock."""

    reason = Component(Signal, value="")
    began_s = Component(Signal, value=0.0)
    ended_s = Component(Signal, value=0.0)


class ConditionSuspender(SuspenderBase):
    """A bluesky suspender over ``scope.conditions``.

    They are looked at after every frame and milling pass, before the frame counts, and every ``poll_s`` of wall time
    in between. A plan that has no checkpoint yet is aborted by the RunEngine.
    """

    def __init__(self, scope: Instrument) -> None:
        super().__init__(scope.chamber_pressure_pa)
        self.scope = scope
        self.limits = scope.settings.suspension
        self._note = Suspension(name="suspension")
        self._guard = threading.Lock()
        self._suspended = False
        self._removed = threading.Event()
        self._waiter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="suspension")
        self._run_open = False
        self._subscription = -1

    def install(self, RE: RunEngine, *, event_type: str | None = None) -> None:
        self.RE = RE
        self._subscription = RE.subscribe(self._follow)
        self.scope.conditions.on_trip = self._trip
        self._removed.clear()
        threading.Thread(target=self._watch, name="conditions", daemon=True).start()

    def remove(self) -> None:
        self._removed.set()
        self.scope.conditions.on_trip = None
        if self.RE is not None:
            self.RE.unsubscribe(self._subscription)
        self.RE = None

    @property
    def tripped(self) -> bool:
        return bool(self.scope.conditions.complaint())

    def get_futures(self) -> tuple[list[Callable[[], Awaitable[None]]], str]:
        """What the RunEngine waits for before it begins a plan."""
        complaint = self.scope.conditions.complaint()
        return ([self._settled], complaint) if complaint else ([], "")

    def _should_suspend(self, value: Any) -> bool:
        return self.tripped

    def _should_resume(self, value: Any) -> bool:
        return not self.tripped

    def _follow(self, name: str, doc: Any) -> None:
        if name in ("start", "stop"):
            self._run_open = name == "start"

    def _watch(self) -> None:
        while not self._removed.wait(self.limits.poll_s):
            if self._running:
                self.scope.conditions.tripped()

    @property
    def _running(self) -> bool:
        return self.RE is not None and self.RE.state.is_running

    def _trip(self, complaint: str) -> bool:
        """Called in any thread; True when the plan under way is suspended, or about to be."""
        with self._guard:
            if self.RE is None or not self._running:
                return False
            if not self._suspended:
                self._suspended = True
                with contextlib.redirect_stdout(io.StringIO()):  # it says the same in four lines
                    self.RE.request_suspend(_at_once, pre_plan=self._wait(complaint))
            return True

    def _wait(self, complaint: str) -> Generator[Any, Any, None]:
        """Until all is well, also when somebody pauses and resumes meanwhile; then a note in the run."""
        began_s = float(self.scope.time_s.get())
        logger.warning("suspended: %s; beams blanked, waiting until all is well", complaint)
        try:
            while True:
                yield from bps.wait_for([self._settled])
                ended_s = float(self.scope.time_s.get())
                now = self.scope.conditions.complaint()
                if not now:
                    break
                if ended_s - began_s >= self.limits.give_up_s:
                    raise RuntimeError(
                        f"suspended for {(ended_s - began_s) / 3600:.3g} h and still {now}; the plan was given up"
                    )
            logger.warning("resumed after %.0f s of instrument time: %s", ended_s - began_s, complaint)
            if self._run_open:
                for signal, value in zip(self._note.walk_signals(), (complaint, began_s, ended_s), strict=True):
                    signal.item.put(value)
                yield from bps.create(STREAM)
                yield from bps.read(self._note)
                yield from bps.save()
                yield from bps.checkpoint()  # this event is not to be rewound
        finally:
            self._suspended = False

    async def _settled(self) -> None:
        """Wait in instrument time, in a thread of its own; a pause or abort ends it."""
        await asyncio.get_running_loop().run_in_executor(self._waiter, self._let_pass_until_well)

    def _let_pass_until_well(self) -> None:
        began_s = now_s = float(self.scope.time_s.get())
        well_since_s = None
        while self._running and now_s - began_s < self.limits.give_up_s:
            if self.scope.conditions.complaint():
                well_since_s = None
            elif well_since_s is None:
                well_since_s = now_s
            elif now_s - well_since_s >= self.limits.settle_s:
                return
            self.scope.let_pass(self.limits.poll_s).wait()
            now_s = float(self.scope.time_s.get())


async def _at_once() -> None:
    """The waiting is a plan of its own; this is what the RunEngine waits for after it."""
