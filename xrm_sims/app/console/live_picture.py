"""The newest image of the running scan as a picture file, which is replaced as a whole."""

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
    """A callback ``(name, doc)`` for the RunEngine.

    It draws in its own thread, at most every ``every_s`` seconds and once more at the end of the run. A scan never
    waits for a picture, and errors in drawing cause only a warning.
    """

    def __init__(self, path: Path, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.every_s = every_s
        self._clock = clock
        self._frame = LastFrame()
        self._drawn_at = -every_s
        self._requested = threading.Event()
        self._drawing: threading.Thread | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._frame = LastFrame()
        self._frame(name, doc)  # type: ignore[arg-type]
        due = name == "stream_datum" and self._clock() - self._drawn_at >= self.every_s
        if due or (name == "stop" and self._frame.datums):
            self._drawn_at = self._clock()
            self._requested.set()
            if self._drawing is None or not self._drawing.is_alive():
                self._drawing = threading.Thread(target=self._draw, name="live-picture", daemon=True)
                self._drawing.start()

    def finish(self) -> None:
        """Wait until the last picture is drawn."""
        if self._drawing is not None:
            self._drawing.join()

    def _draw(self) -> None:
        while self._requested.is_set():
            self._requested.clear()
            try:
                frame = self._frame.read()
                if frame is not None:
                    save(figure_of(frame), self.path, dpi=110)
            except Exception as error:  # must not end the scan
                logger.warning("live picture %s: could not be drawn (%s)", self.path, error)
