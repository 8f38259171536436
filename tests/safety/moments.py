"""Moments to kill a process: at one of its steps to the disk, or some time after a number of messages."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import h5py

TO_DISK = ((os, "fsync"), (os, "fdatasync"), (os, "replace"), (os, "link"), (os, "rename"), (h5py.Dataset, "flush"))
SIDES = ("before", "after", "torn")


@dataclass(frozen=True)
class AtStep:
    """Step ``number`` (from 0) to the disk within a phase; ``side`` is "before", "after" or "torn".

    "torn" cuts the end of a journal's last line, as if the process had been killed while writing it.
    """

    phase: str
    number: int
    side: str = "before"


@dataclass(frozen=True)
class AfterWords:
    """``seconds`` after ``words`` messages of a phase."""

    phase: str
    words: int
    seconds: float


Moment = AtStep | AfterWords


class Trap:
    """Kills its own process at a moment; it gets the name of each phase and counts the steps in it."""

    def __init__(self, moment: AtStep | None, tell: Callable[[str, str, int], None]) -> None:
        self._moment = moment
        self._tell = tell
        self._phase, self._taken = "", 0
        for owner, name in TO_DISK:
            setattr(owner, name, self._counted(getattr(owner, name)))

    def reached(self, phase: str) -> None:
        if self._phase:
            self._tell("steps", self._phase, self._taken)
        self._phase, self._taken = phase, 0

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def taking(*args: Any, **kwargs: Any) -> Any:
            number, self._taken = self._taken, self._taken + 1
            meant = self._moment is not None and (self._phase, number) == (self._moment.phase, self._moment.number)
            if meant and self._moment.side != "after":
                if self._moment.side == "torn":
                    _tear(args[0])
                _kill_myself()
            result = step(*args, **kwargs)
            if meant:
                _kill_myself()
            return result

        return taking


def moments(seed: int, steps: dict[str, int], words: dict[str, int], most_s: float = 0.2) -> Iterator[Moment]:
    """Seeded moments without end, spread evenly over the phases and over the steps or words of each."""
    chance = random.Random(seed)
    while True:
        phase = chance.choice(sorted(steps))
        if chance.random() < 0.5:
            yield AfterWords(phase, chance.randrange(max(1, words[phase])), chance.uniform(0.0, most_s))
        else:
            yield AtStep(phase, chance.randrange(max(1, steps[phase])), chance.choice(SIDES))


def _kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def _tear(descriptor: Any) -> None:
    if not isinstance(descriptor, int) or not os.readlink(f"/proc/self/fd/{descriptor}").endswith(".jsonl"):
        return
    path = f"/proc/self/fd/{descriptor}"
    with open(path, "rb") as file:
        written = file.read()
    whole = written[:-1].rfind(b"\n") + 1
    os.truncate(path, whole + (len(written) - whole) // 2)
