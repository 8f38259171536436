"""The twin's clock: as fast as the computer allows, in real time, or accelerated.

Twin time belongs to the instrument's state; the clock only says how long things take. With ``"fast"`` an exposure of
90 s passes at once. Otherwise it is waited for, and twin time follows the wall clock also between two commands.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Clock:
    """How twin seconds relate to seconds on the wall.

    Parameters
    ----------
    pace : "fast", "real", or twin seconds per second on the wall (60.0: an hour passes in a minute).
    wall : seconds since the epoch; it has to go on while no process runs.
    wait : waits on an event for at most so many seconds, true when the event was set.

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
        """Twin seconds that passed by themselves since a moment on the wall; none when the clock is fast."""
        return 0.0 if self.rate is None else self.away_s(since_wall_s)

    def away_s(self, since_wall_s: float) -> float:
        """Twin seconds since a moment on the wall, one for one when the clock is fast."""
        return max(0.0, self.wall() - since_wall_s) * (self.rate or 1.0)

    def let_pass(self, seconds: float, halt: threading.Event) -> float:
        """Let twin seconds pass; how many did, fewer than asked for when ``halt`` was set meanwhile."""
        if self.rate is None or seconds <= 0:
            return max(0.0, seconds)
        began = self.wall()
        halted = self._wait(halt, seconds / self.rate)
        return min(seconds, self.away_s(began)) if halted else seconds
