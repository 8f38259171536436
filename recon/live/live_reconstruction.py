"""Reconstruct a run while a RunEngine takes it, in a thread of its own."""

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
    """Number of views in the volume, largest number that the run may take, and whether the run goes on."""

    views: int
    expected: int
    running: bool


class LiveReconstruction:
    """Reconstruct tomography runs while they are taken; subscribe it to a RunEngine.

    >>> live = LiveReconstruction()
    >>> RE.subscribe(live)
    >>> RE(tomography(scope, order="interleaved"))
    >>> live.slice                # the central slice, at any time
    >>> live.result().volume      # soon after the run

    The RunEngine only puts documents into a queue, so that the run neither waits for the reconstruction nor fails with
    it. An error is logged, kept as ``error`` and raised by :meth:`result`; the next run starts anew.

    Parameters
    ----------
    on_result : called in the thread with each finished :class:`Reconstruction`.
    tolerance : the change of the volume that :meth:`enough` accepts.
    options : for :class:`recon.live.live_volume.LiveVolume`: ``correct``, ``sweeps``, ``tv``, ``relaxation``.
    """

    def __init__(
        self, on_result: Callable[[Reconstruction], None] | None = None, *, tolerance: float = TOLERANCE, **options: Any
    ) -> None:
        self.error: Exception | None = None
        self.tolerance = tolerance
        self._on_result = on_result
        self._options = options
        self._queue: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._run: RunFollower | None = None
        self._newest = self._followed = ""  # uid of the newest run in the RunEngine, and in the thread
        self._outcome: tuple[str, Reconstruction | Exception] = ("", TimeoutError())
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="live-reconstruction", daemon=True).start()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if _begins_tomography(name, doc):
            self._newest = doc["uid"]
        self._queue.put((name, doc))

    @property
    def progress(self) -> Progress:
        """Progress of the newest tomography run; zeros before the first."""
        run = self._run
        return Progress(0, 0, False) if run is None else Progress(run.views, run.expected, not run.arrivals.finished)

    @property
    def slice(self) -> NDArray[np.float32] | None:
        """The present central slice (y, x) in 1/um; None before the first run."""
        run = self._run
        return None if run is None else run.volume.slice

    @property
    def volume(self) -> NDArray[np.float32] | None:
        """The present volume (z, y, x) in 1/um; None before the first run."""
        run = self._run
        return None if run is None else run.volume.volume

    def enough(self) -> bool:
        """Whether further views would change the volume by less than ``tolerance`` (rms, relative).

        For ``tomography(..., order="interleaved", enough=live.enough)``. False while no run goes on.
        """
        run = self._run
        missing = None if run is None or run.arrivals.finished else run.volume.missing
        return missing is not None and missing < self.tolerance

    def result(self, timeout_s: float | None = None) -> Reconstruction:
        """Return the reconstruction of the newest run when it is finished; raise its error if it failed.

        Raises TimeoutError when no run has ended within ``timeout_s``.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest and self._outcome[0] == self._newest, timeout_s):
                raise TimeoutError("no tomography run has ended yet")
            outcome = self._outcome[1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _work(self) -> None:
        if sys.platform == "linux":  # the threads of the scan go first; the threads of the kernels inherit this
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        idle = True
        while True:
            try:
                with suppress(queue.Empty):
                    while True:
                        self._handle(*self._queue.get(block=idle))
                        idle = False
                idle = self._run is None or self._run.arrivals.finished or not self._run.advance()
            except Exception as error:
                logger.exception("the live reconstruction failed, the run goes on")
                self.error, self._run = error, None
                self._end(error)

    def _end(self, outcome: Reconstruction | Exception) -> None:
        with self._changed:
            self._outcome = self._followed, outcome
            self._changed.notify_all()

    def _handle(self, name: str, doc: dict[str, Any]) -> None:
        if _begins_tomography(name, doc):
            self.error, self._run, self._followed = None, None, doc["uid"]
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


def _begins_tomography(name: str, doc: dict[str, Any]) -> bool:
    return name == "start" and doc.get("scan_type") == ScanType.TOMOGRAPHY
