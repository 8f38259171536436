"""What a plan will take, said before anything moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xrm_sims.settings import Settings


@dataclass(frozen=True)
class Estimate:
    """Cost of a plan: beam and stage time, charge and what it lands on, depth eroded or grown, frames on disk."""

    time_s: float
    dose_nc: float
    dose_on: str
    disk_bytes: int
    eroded_nm: float = 0.0
    deposited_nm: float = 0.0


@dataclass(frozen=True)
class Preflight:
    """An estimate beside what the instrument and the disk allow; print it."""

    plan: str
    estimate: Estimate | None
    disk_free_bytes: int
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{self.plan}: {'ready' if self.ok else 'refused'}"]
        if self.estimate is not None:
            e = self.estimate
            lines += [
                f"  time    {_duration(e.time_s)} of instrument time",
                f"  dose    {e.dose_nc:.4g} nC on the {e.dose_on}",
                f"  grown   {e.deposited_nm:.4g} nm" if e.deposited_nm else f"  eroded  {e.eroded_nm:.4g} nm",
                f"  disk    {_size(e.disk_bytes)} of {_size(self.disk_free_bytes)} free",
            ]
        return "\n".join([*lines, *(f"  refused {sentence}" for sentence in self.problems)])


class Request(Protocol):
    """The arguments of a plan, filled in."""

    def check(self, scope: Any) -> None: ...

    def estimate(self, settings: Settings) -> Estimate: ...


def weigh(scope: Any, name: str, request: Callable[[], Request]) -> Preflight:
    """Check a request, estimate it and hold it against the free disk; refusals become sentences."""
    free = shutil.disk_usage(_existing(Path(scope.frames_dir))).free
    try:
        asked = request()
        asked.check(scope)
        expected = asked.estimate(scope.settings)
    except ValueError as refused:
        return Preflight(name, None, free, (str(refused),))
    full = f"disk: {_size(expected.disk_bytes)} are needed, {_size(free)} are free in {scope.frames_dir}"
    return Preflight(name, expected, free, (full,) if expected.disk_bytes > free else ())


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.1f} min" if minutes >= 2 else f"{seconds:.3g} s"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
