"""Estimates of time, dose and disk space, computed before anything moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plans.instrument import Scope
from xrm_sims.settings import Settings


@dataclass(frozen=True)
class Estimate:
    """Time of beam and stage, charge on "target" or "specimen", depth eroded or deposited, size of the frames."""

    time_s: float
    dose_nc: float
    dose_on: str
    disk_bytes: int
    eroded_nm: float = 0.0
    deposited_nm: float = 0.0


@dataclass(frozen=True)
class Preflight:
    """The estimate for a plan, and the limits of instrument and disk that it exceeds; made to be printed."""

    plan: str
    estimate: Estimate | None
    disk_free_bytes: int
    problems: tuple[str, ...] = ()
    parts: tuple[Preflight, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def time_s(self) -> float:
        """Time on the instrument, all parts together."""
        return self.estimate.time_s if self.estimate else sum(part.time_s for part in self.parts)

    @property
    def disk_bytes(self) -> int:
        return self.estimate.disk_bytes if self.estimate else sum(part.disk_bytes for part in self.parts)

    def dose_nc(self, on: str) -> float:
        """Charge on the "target" or the "specimen"."""
        if self.estimate:
            return self.estimate.dose_nc if self.estimate.dose_on == on else 0.0
        return sum(part.dose_nc(on) for part in self.parts)

    def __str__(self) -> str:
        lines = [f"{self.plan}: {'ready' if self.ok else 'refused'}"]
        if self.parts:
            lines += [f"  {part.in_a_line()}" for part in self.parts]
            lines.append(f"  {self.in_a_line('together')}")
            lines.append(f"  disk    {_size(self.disk_bytes)} of {_size(self.disk_free_bytes)} free")
        if self.estimate is not None:
            e = self.estimate
            lines += [
                f"  time    {duration(e.time_s)} of instrument time",
                f"  dose    {e.dose_nc:.4g} nC on the {e.dose_on}",
                f"  grown   {e.deposited_nm:.4g} nm" if e.deposited_nm else f"  eroded  {e.eroded_nm:.4g} nm",
                f"  disk    {_size(e.disk_bytes)} of {_size(self.disk_free_bytes)} free",
            ]
        return "\n".join([*lines, *(f"  refused {sentence}" for sentence in self.problems)])

    def in_a_line(self, label: str = "") -> str:
        """Return label, time, disk space and doses in columns."""
        doses = [f"{self.dose_nc(on):.4g} nC on {on}" for on in ("target", "specimen") if self.dose_nc(on)]
        line = f"{label or self.plan:<34} {duration(self.time_s):>9} {_size(self.disk_bytes):>11}  {', '.join(doses)}"
        return line.rstrip()


class Request(Protocol):
    """The arguments of a plan with its defaults."""

    def check(self, scope: Scope) -> None: ...

    def estimate(self, settings: Settings) -> Estimate: ...


def weigh(scope: Scope, name: str, request: Callable[[], Request]) -> Preflight:
    """Check a request, estimate it and compare it with the free disk space. Errors become ``problems``."""
    free = free_bytes(scope)
    try:
        made = request()
        made.check(scope)
        estimate = made.estimate(scope.settings)
    except ValueError as refused:
        return Preflight(name, None, free, (str(refused),))
    except (TypeError, OverflowError) as refused:  # for example text in place of a number
        return Preflight(name, None, free, (f"cannot be done as given ({refused})",))
    return Preflight(name, estimate, free, _too_full(estimate.disk_bytes, free))


def together(name: str, parts: Sequence[Preflight]) -> Preflight:
    """Add the estimates of several plans."""
    free = min(part.disk_free_bytes for part in parts)
    problems = tuple(f"{part.plan}: {problem}" for part in parts for problem in part.problems)
    too_full = _too_full(sum(part.disk_bytes for part in parts), free)
    return Preflight(name, None, free, problems or too_full, tuple(parts))


def free_bytes(scope: Scope) -> int:
    """Return the free disk space for frames."""
    return shutil.disk_usage(_existing(scope.frames_dir)).free


def _too_full(needed: int, free: int) -> tuple[str, ...]:
    full = f"disk: {_size(needed)} are needed, {_size(free)} are free on the disk for frames"
    return (full,) if needed > free else ()


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def duration(seconds: float) -> str:
    """Return a duration with a suitable unit."""
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.1f} min" if minutes >= 2 else f"{seconds:.3g} s"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
