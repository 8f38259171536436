"""Suspend the running plan while beam current, vacuum or detector temperature are out of bounds.

The RunEngine stops all moves and the instrument blanks its beams. When all conditions have been good for a while, the
plan resumes from its last checkpoint, and the interrupted frame is measured again. All waiting is in the instrument's
own time, which takes no real time on a fast clock.
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
    """One entry of the stream ``suspensions``: the reason, and begin and end on the instrument's clock."""

    reason = Component(Signal, value="")
    began_s = Component(Signal, value=0.0)
    ended_s = Component(Signal, value=0.0)


class ConditionSuspender(SuspenderBase):
    """A bluesky suspender for ``scope.conditions``.

    The conditions are checked after every frame and milling pass, before the frame is accepted, and every ``poll_s`` of
    wall time in between. The RunEngine aborts a plan that has no checkpoint yet.
    """

    def __init__(self, scope: Instrument) -> None:
        super().__init__(scope.chamber_pressure_pa)  # type: ignore[no-untyped-call]
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
        """Return what the RunEngine has to wait for before it starts a plan."""
        complaint = self.scope.conditions.complaint()
        return ([self._wait_until_good], complaint) if complaint else ([], "")

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
        """Suspend the running plan; return whether it is suspended or soon will be. Called from any thread."""
        with self._guard:
            if self.RE is None or not self._running:
                return False
            if not self._suspended:
                self._suspended = True
                with contextlib.redirect_stdout(io.StringIO()):  # bluesky prints the same in four lines
                    self.RE.request_suspend(_no_wait, pre_plan=self._wait(complaint))
            return True

    def _wait(self, complaint: str) -> Generator[Any, Any, None]:
        """Wait until all conditions are good, also across a pause and resume; then record it in the run."""
        began_s = float(self.scope.time_s.get())
        logger.warning("suspended: %s; beams blanked, waiting until all conditions are good", complaint)
        try:
            while True:
                yield from bps.wait_for([self._wait_until_good])
                ended_s = float(self.scope.time_s.get())
                now = self.scope.conditions.complaint()
                if not now:
                    break
                if ended_s - began_s >= self.limits.give_up_s:
                    raise RuntimeError(
                        f"suspended for {(ended_s - began_s) / 3600:.3g} h and still {now}; the plan was aborted"
                    )
            logger.warning("resumed after %.0f s of instrument time: %s", ended_s - began_s, complaint)
            if self._run_open:
                for signal, value in zip(self._note.walk_signals(), (complaint, began_s, ended_s), strict=True):
                    signal.item.put(value)
                yield from bps.create(STREAM)
                yield from bps.read(self._note)
                yield from bps.save()
                yield from bps.checkpoint()  # so that this event is not repeated
        finally:
            self._suspended = False

    async def _wait_until_good(self) -> None:
        """Wait in instrument time, in a separate thread; a pause or abort ends it."""
        await asyncio.get_running_loop().run_in_executor(self._waiter, self._let_time_pass)

    def _let_time_pass(self) -> None:
        began_s = now_s = float(self.scope.time_s.get())
        good_since_s = None
        while self._running and now_s - began_s < self.limits.give_up_s:
            if self.scope.conditions.complaint():
                good_since_s = None
            elif good_since_s is None:
                good_since_s = now_s
            elif now_s - good_since_s >= self.limits.settle_s:
                return
            self.scope.let_pass(self.limits.poll_s).wait()
            now_s = float(self.scope.time_s.get())


async def _no_wait() -> None:
    """Return at once: ``_wait``, the plan that runs before it, does the waiting."""
