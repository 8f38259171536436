"""A volume of the run that is being taken right now."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from recon.live.run_follower import RunFollower
from recon.runs import Reconstruction
from xrm_sims.scan_type import ScanType

logger = logging.getLogger(__name__)
NICENESS = 5
TOLERANCE = 0.05
ALL_THREADS: int = numba.get_num_threads()


@dataclass(frozen=True)
class Progress:
    """views of the run that are in the volume, views that it may take, whether the run goes on."""

    views: int
    expected: int
    running: bool


class LiveReconstruction:
    """Subscribe it to a RunEngine: the volume of a tomography run grows in a thread of its own while the run goes on.

    >>> live = LiveReconstruction()
    >>> RE.subscribe(live)
    >>> RE(tomography(scope, order="interleaved"))
    >>> live.slice                # the central slice, at any time
    >>> live.result().volume      # soon after the run

    Documents are put into a queue and nothing else, so that the run neither waits for the reconstruction nor fails with
    it. What goes wrong is logged, kept as ``error`` and raised by :meth:`result`; the next run starts afresh.

    Parameters
    ----------
    on_result : called in the thread with each finished :class:`Reconstruction`.
    tolerance : what :meth:`enough` takes for enough.
    options : for :class:`recon.growing.GrowingVolume`: ``correct``, ``sweeps``, ``tv``, ``relaxation``.
    """

    def __init__(
        self,
        on_result: Callable[[Reconstruction], None] | None = None,
        *,
        tolerance: float = TOLERANCE,
        **options: Any,
    ) -> None:
        self.error: Exception | None = None
        self.tolerance = tolerance
        self._on_result = on_result
        self._options = options
        self._queue: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._run: RunFollower | None = None
        self._told = self._heard = ""  # uid of the newest run, as the RunEngine and as the thread know it
        self._outcome: tuple[str, Reconstruction | Exception] = ("", TimeoutError())
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="live-reconstruction", daemon=True).start()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start" and doc.get("scan_type") == ScanType.TOMOGRAPHY:
            self._told = doc["uid"]
        self._queue.put((name, doc))

    @property
    def progress(self) -> Progress:
        """Of the newest tomography run; zeros before the first."""
        run = self._run
        return Progress(0, 0, False) if run is None else Progress(run.views, run.expected, not run.arrivals.finished)

    @property
    def slice(self) -> NDArray[np.float32] | None:
        """(y, x) in 1/um: the central slice as it is now; None before the first run."""
        run = self._run
        return None if run is None else run.volume.slice

    @property
    def volume(self) -> NDArray[np.float32] | None:
        """(z, y, x) in 1/um as it is now; None before the first run."""
        run = self._run
        return None if run is None else run.volume.volume

    def enough(self) -> bool:
        """Whether further views would change the volume by less than ``tolerance`` (rms, relative), as far as the last
        ones tell: for ``tomography(..., order="interleaved", enough=live.enough)``. Never without a running run."""
        run = self._run
        missing = None if run is None or run.arrivals.finished else run.volume.missing
        return missing is not None and missing < self.tolerance

    def result(self, timeout_s: float | None = None) -> Reconstruction:
        """The reconstruction of the newest run when it is finished; its error if it failed.

        Raises TimeoutError when no run has ended within ``timeout_s``.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._told and self._outcome[0] == self._told, timeout_s):
                raise TimeoutError("no tomography run has ended yet")
            outcome = self._outcome[1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _work(self) -> None:
        _stand_back()
        idle = True
        while True:
            with suppress(queue.Empty):
                while True:
                    self._guarded(self._hear, *self._queue.get(block=idle))
                    idle = False
            idle = not self._guarded(self._advance)

    def _guarded(self, work: Callable[..., bool], *args: Any) -> bool:
        try:
            return work(*args)
        except Exception as error:
            logger.exception("the live reconstruction failed, the run goes on")
            self.error, self._run = error, None
            self._end(error)
            return False

    def _end(self, outcome: Reconstruction | Exception) -> None:
        with self._changed:
            self._outcome = self._heard, outcome
            self._changed.notify_all()

    def _hear(self, name: str, doc: dict[str, Any]) -> bool:
        if name == "start" and doc.get("scan_type") == ScanType.TOMOGRAPHY:
            self.error, self._run, self._heard = None, None, doc["uid"]
            self._run = RunFollower(doc, **self._options)
            numba.set_num_threads(max(1, ALL_THREADS - 1))  # of this thread: one core is left to the scan
        elif self._run is not None and not self._run.arrivals.finished:
            self._run.arrivals(name, doc)
            if name == "stop":
                numba.set_num_threads(ALL_THREADS)
                done = self._run.finish()
                if self._on_result is not None:
                    self._on_result(done)
                self._end(done)
        return True

    def _advance(self) -> bool:
        return self._run is not None and not self._run.arrivals.finished and self._run.advance()


def _stand_back() -> None:
    """Let the scan's own threads go first where the system can tell threads apart; those of the kernels inherit it."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
