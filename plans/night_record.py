"""The record of a night: what came of each step, kept while it goes on, and taken up again after an interruption."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from plans.steps import Finish


@dataclass
class Outcome:
    """What came of one step: ``status`` is waiting, running, done, failed, skipped or interrupted."""

    sample: str
    do: str
    where: str = ""
    status: str = "waiting"
    attempts: int = 0
    uids: list[str] = field(default_factory=list)
    said: str = ""
    began_s: float | None = None
    ended_s: float | None = None
    instrument_s: float = 0.0


@dataclass
class Night:
    """The record of a night: ``state`` is running, done, stopped (as the sheet asked for) or interrupted.

    Times are seconds since the epoch, ``instrument_s`` seconds on the instrument's own clock. ``experiments`` are the
    specimens' experiment uids, in their order; ``resumed_s`` when the night went on after an interruption.
    """

    uid: str
    title: str
    outcomes: list[Outcome]
    state: str = "running"
    why: str = ""
    safe: bool | None = None
    began_s: float = field(default_factory=time.time)
    ended_s: float | None = None
    experiments: list[str] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)

    def count(self, status: str) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def now(self) -> Outcome | None:
        """The step that is under way."""
        return next((outcome for outcome in self.outcomes if outcome.status == "running"), None)

    @property
    def over(self) -> bool:
        """It came to its end, or to the one that the sheet asks for."""
        return self.state in ("done", "stopped")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Night:
        """As :meth:`as_dict` told it; what else stands in the table is left out."""
        known = {entry.name: table[entry.name] for entry in fields(cls) if entry.name in table}
        return cls(**{**known, "outcomes": [Outcome(**outcome) for outcome in table["outcomes"]]})

    def close(self, state: str, why: str = "") -> None:
        """The night ends here; what it had not come to, or was in the middle of, says so."""
        self.state, self.why, self.ended_s = state, why, time.time()
        for outcome in self.outcomes:
            if outcome.status == "running":
                outcome.status, outcome.said, outcome.ended_s = "interrupted", why, self.ended_s
            elif outcome.status == "waiting":
                outcome.status, outcome.said = "skipped", outcome.said or self._not_reached

    def reopen(self) -> None:
        """It goes on: what it was in the middle of, or had not come to, waits again; what was done stays done."""
        not_reached = self._not_reached
        for outcome in self.outcomes:
            if outcome.status in ("running", "interrupted") or outcome.said == not_reached:
                outcome.status, outcome.said, outcome.ended_s = "waiting", "", None
        self.state, self.why, self.safe, self.ended_s = "running", "", None, None
        self.resumed_s.append(time.time())

    @property
    def _not_reached(self) -> str:
        return f"the night was {self.state} before"


@dataclass(frozen=True)
class Unfinished:
    """A night that was interrupted, and what is needed to go on with it.

    begun : the run that a step has already, by the number of the step's outcome.
    finish : a plan that takes what a run is missing.
    """

    record: Night
    begun: Mapping[int, str]
    finish: Finish
