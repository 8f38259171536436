"""The newest image of the scan that goes on, as a picture file that is always whole."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xrm_sims.app.common.last_frame import LastFrame, figure_of
from xrm_sims.correlate.figures.drawing import save

logger = logging.getLogger(__name__)
EVERY_S = 5.0


class LivePicture:
    """A callback ``(name, doc)`` for the RunEngine. It draws in a thread of its own, at most every ``every_s`` seconds
    and once more when the run has ended; a scan never waits for it and never fails by it."""

    def __init__(self, path: Path, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.every_s = every_s
        self._clock = clock
        self._frame = LastFrame()
        self._drawn_at = -every_s
        self._wanted = threading.Event()
        self._drawing: threading.Thread | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._frame = LastFrame()
        self._frame(name, doc)  # type: ignore[arg-type]
        due = name == "stream_datum" and self._clock() - self._drawn_at >= self.every_s
        if due or (name == "stop" and self._frame.datums):
            self._drawn_at = self._clock()
            self._wanted.set()
            if self._drawing is None or not self._drawing.is_alive():
                self._drawing = threading.Thread(target=self._draw_what_is_wanted, name="live-picture", daemon=True)
                self._drawing.start()

    def finish(self) -> None:
        """Wait for what is still to be drawn."""
        if self._drawing is not None:
            self._drawing.join()

    def _draw_what_is_wanted(self) -> None:
        while self._wanted.is_set():
            self._wanted.clear()
            try:
                glance = self._frame.look()
                if glance is not None:
                    save(figure_of(glance), self.path, dpi=110)
            except Exception as error:  # a picture is never worth a scan
                logger.warning("live picture %s: could not be drawn (%s)", self.path, error)
