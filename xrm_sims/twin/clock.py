"""The twin's clock: as fast as the computer allows, in real time, or accelerated.

The instrument's state holds the twin time; the clock only controls the waiting. With ``"fast"`` an exposure of 90 s
passes at once. Otherwise the clock waits, and twin time follows the wall clock also between commands.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Clock:
    """Conversion between twin seconds and wall-clock seconds.

    Parameters
    ----------
    pace : "fast", "real", or twin seconds per wall-clock second (60.0: an hour passes in a minute).
    wall : returns seconds since the epoch; it must continue while no process runs.
    wait : waits on an event for at most so many seconds; returns whether the event was set.

    Raises
    ------
    ValueError when ``pace`` is none of these.
    """

    def __init__(
        self,
        pace: str | float = "fast",
        *,
        wall: Callable[[], float] = time.time,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ):
        self.wall = wall
        self._wait = wait
        self.rate: float | None
        if pace == "fast":
            self.rate = None
        elif pace == "real":
            self.rate = 1.0
        elif isinstance(pace, (int, float)) and not isinstance(pace, bool) and math.isfinite(pace) and pace > 0:
            self.rate = float(pace)
        else:
            raise ValueError(f'clock: needs "fast", "real" or a positive factor, got {pace!r}')

    def elapsed_s(self, since_wall_s: float) -> float:
        """Return the twin seconds that passed since a wall-clock time; 0 with a fast clock."""
        return 0.0 if self.rate is None else self.away_s(since_wall_s)

    def away_s(self, since_wall_s: float) -> float:
        """Return the twin seconds since a wall-clock time; with a fast clock they equal wall-clock seconds."""
        return max(0.0, self.wall() - since_wall_s) * (self.rate or 1.0)

    def let_pass(self, seconds: float, halt: threading.Event) -> float:
        """Wait for twin seconds; return how many passed, fewer when ``halt`` was set."""
        if self.rate is None or seconds <= 0:
            return max(0.0, seconds)
        began = self.wall()
        halted = self._wait(halt, seconds / self.rate)
        return min(seconds, self.away_s(began)) if halted else seconds
