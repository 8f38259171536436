"""Milling: the gallium beam removes material, pass by pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import bluesky.plan_stubs as bps

from plans.instrument import Scope, Values
from plans.metadata import link_to
from plans.preflight import Estimate
from plans.stubs import NothingLeftError, Plan, check_values, record
from plans.validation import positive
from xrm_sims.patterns import Milled, Pattern, check_within_field, pattern_from_dict
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings

PASS_TOLERANCE = 1e-6  # rounding error of a sum of doses, in passes


@dataclass(frozen=True)
class Milling:
    """A pattern and the beam that draws it."""

    scan_type: ClassVar[ScanType] = ScanType.MILLING
    deposits: ClassVar[bool] = False
    extra_md: ClassVar[Mapping[str, Any]] = {}
    pattern: Milled
    current_pa: float
    voltage_kv: float

    @classmethod
    def from_arguments(
        cls, settings: Settings, pattern: Pattern, *, current_pa: float | None = None, voltage_kv: float | None = None
    ) -> Self:
        """Return the arguments of the plan with default current and voltage filled in.

        ValueError when the pattern is a raster.
        """
        if not isinstance(pattern, Milled):
            needed = "a Rectangle, Polygon, Annulus or CrossSection"
            raise ValueError(f"pattern: {cls.scan_type} needs {needed}, got {type(pattern).__name__}")
        return cls(
            pattern,
            cls.default_current_pa(settings, pattern) if current_pa is None else current_pa,
            settings.ion.voltage_kv if voltage_kv is None else voltage_kv,
        )

    @staticmethod
    def default_current_pa(settings: Settings, pattern: Milled) -> float:
        return settings.ion.milling_current_pa

    def optics(self, scope: Scope) -> Values:
        return {scope.fib.voltage_kv: self.voltage_kv, scope.fib.current_pa: self.current_pa}

    def check(self, scope: Scope) -> None:
        """ValueError when the pattern leaves the scan field or a value is outside the instrument's limits."""
        positive(current_pa=self.current_pa)
        check_within_field(self.pattern, scope.settings)
        check_values(self.optics(scope))

    def rate_um3_per_nc(self, settings: Settings) -> float:
        """Volume per dose from which the dose of a pattern is computed."""
        return settings.sputtering.rate_lco_um3_per_nc

    def estimate(self, settings: Settings) -> Estimate:
        rate = self.rate_um3_per_nc(settings)
        return Estimate(
            time_s=self.pattern.estimated_s(self.current_pa, rate),
            dose_nc=self.pattern.dose_nc(rate),
            dose_on="specimen",
            disk_bytes=0,
            **{"deposited_nm" if self.deposits else "eroded_nm": 1e3 * self.pattern.depth_um},
        )


def mill(
    scope: Scope,
    pattern: Pattern,
    *,
    current_pa: float | None = None,
    voltage_kv: float | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Remove material with the gallium beam, pass by pass; each pass is a checkpoint and an event with the dose so far.

    Parameters
    ----------
    pattern : a Rectangle, Polygon, Annulus or CrossSection in the scan frame.
    current_pa, voltage_kv : probe current and voltage of the column; default: those of the settings for milling. The
        dose is computed for the default voltage: ions of lower energy mill less deep with it.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError before anything moves.

    Example
    -------
    >>> RE(mill(scope, Rectangle(size_um=(20.0, 20.0), depth_um=1.5)))
    """
    milling = Milling.from_arguments(scope.settings, pattern, current_pa=current_pa, voltage_kv=voltage_kv)
    return (yield from draw(scope, milling, "mill", md))


def resume_mill(
    scope: Scope, start_doc: Mapping[str, Any], dose_done_nc: float, md: Mapping[str, Any] | None = None
) -> Plan[str]:
    """Mill the rest of an interrupted milling, as a run of its own; no dose is given twice.

    Parameters
    ----------
    start_doc : start document of any part.
    dose_done_nc : dose on the pattern from all parts together. An unfinished pass is finished, not repeated.

    Raises ValueError when the document belongs to no milling, NothingLeftError when nothing is left.
    """
    return (yield from draw_rest(scope, Milling, "resume_mill", start_doc, dose_done_nc, md))


def draw_rest(
    scope: Scope,
    kind: type[Milling],
    plan_name: str,
    start_doc: Mapping[str, Any],
    dose_done_nc: float,
    md: Mapping[str, Any] | None,
) -> Plan[str]:
    """Draw the rest of an interrupted milling or deposition. ValueError when the document belongs to another type."""
    if start_doc.get("scan_type") != kind.scan_type:
        raise ValueError(f"start_doc: needs a {kind.scan_type}, got {start_doc.get('scan_type')!r}")
    pattern = pattern_from_dict(start_doc["pattern"])
    beam = {name: start_doc[name] for name in ("current_pa", "voltage_kv")}
    milling = kind.from_arguments(scope.settings, pattern, **beam)
    return (yield from draw(scope, milling, plan_name, md, dose_done_nc=dose_done_nc, link=link_to(start_doc)))


def draw(
    scope: Scope,
    milling: Milling,
    plan_name: str,
    md: Mapping[str, Any] | None,
    *,
    dose_done_nc: float = 0.0,
    link: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Mill or deposit in one run, without the dose of earlier parts. Returns the run's uid."""
    milling.check(scope)
    pattern, rate = milling.pattern, milling.rate_um3_per_nc(scope.settings)
    passes_done = max(0.0, dose_done_nc) * pattern.passes / pattern.dose_nc(rate)
    passes = passes_left(pattern, passes_done)
    if not passes:
        raise NothingLeftError(f"resume: all {pattern.passes} passes are drawn, nothing is left to resume")

    def measure() -> Plan[None]:
        for index, drawn in enumerate(passes):
            yield from bps.prepare(scope.fib, (drawn, index, milling.deposits), wait=True)
            yield from bps.mv(scope.fib.blanked, False)
            yield from bps.trigger(scope.fib, wait=True)
            yield from bps.mv(scope.fib.blanked, True)
            yield from bps.checkpoint()
            yield from bps.trigger_and_read([scope.fib.dose_nc, scope.fib.scan_dose_nc, scope.time_s])
            yield from bps.checkpoint()

    def describe() -> dict[str, Any]:
        return {
            "plan_name": plan_name,
            "scan_type": milling.scan_type.value,
            "detectors": ["fib_dose_nc"],
            "num_points": len(passes),
            "hints": {},
            "pattern": pattern.as_dict(),
            "passes_done": passes_done,
            "rate_um3_per_nc": rate,
            "current_pa": milling.current_pa,
            "voltage_kv": milling.voltage_kv,
            **milling.extra_md,
            **(link or {}),
        }

    return (yield from record(scope, "fib", milling.optics(scope), measure(), [scope.fib], describe, md))


def passes_left(pattern: Milled, passes_done: float) -> list[dict[str, Any]]:
    """Return what each further pass draws: first the rest of an unfinished pass, then whole ones."""
    begun, share = int(passes_done + PASS_TOLERANCE), passes_done % 1.0
    whole = pattern.as_dict()
    if share < PASS_TOLERANCE or share > 1.0 - PASS_TOLERANCE:
        return [whole] * (pattern.passes - begun)
    rest = whole | {"depth_um": pattern.depth_um * (1.0 - share) / pattern.passes, "passes": 1}
    return [rest] + [whole] * (pattern.passes - begun - 1)
