"""The record of a night: the outcome of each step, updated while the night runs and after it is resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from plans.steps import Finish


@dataclass
class Outcome:
    """The outcome of one step; ``status`` is waiting, running, done, failed, skipped or interrupted."""

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
    """The record of a night; ``state`` is running, done, stopped (by ``on_failure`` of the sheet) or interrupted.

    Times are in seconds since the epoch, ``instrument_s`` in seconds of the instrument's clock. ``experiments`` holds
    one ``experiment_uid`` for each specimen, ``resumed_s`` the times at which the night was resumed.
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
        """The running step."""
        return next((outcome for outcome in self.outcomes if outcome.status == "running"), None)

    @property
    def over(self) -> bool:
        """True when the night was not interrupted."""
        return self.state in ("done", "stopped")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Night:
        """Return the record from :meth:`as_dict`; unknown keys are ignored."""
        known = {entry.name: table[entry.name] for entry in fields(cls) if entry.name in table}
        return cls(**{**known, "outcomes": [Outcome(**outcome) for outcome in table["outcomes"]]})

    def close(self, state: str, why: str = "") -> None:
        """End the night: a running step is interrupted, waiting steps are skipped."""
        self.state, self.why, self.ended_s = state, why, time.time()
        for outcome in self.outcomes:
            if outcome.status == "running":
                outcome.status, outcome.said, outcome.ended_s = "interrupted", why, self.ended_s
            elif outcome.status == "waiting":
                outcome.status, outcome.said = "skipped", outcome.said or self._not_reached

    def reopen(self) -> None:
        """Resume the night: interrupted steps and those not reached wait again; finished steps stay as they are."""
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
    """An interrupted night, and what is needed to continue it.

    begun : uid of the run that a step has begun, by the number of the step's outcome.
    finish : plan that completes a run.
    """

    record: Night
    begun: Mapping[int, str]
    finish: Finish
