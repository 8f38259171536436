"""Milling: material taken away by the gallium beam, pass by pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import bluesky.plan_stubs as bps

from plans.instrument import Scope, Values
from plans.metadata import check_md, link_to, start_md
from plans.preflight import Estimate
from plans.stubs import NothingLeftError, Plan, apply, check_values, enter_mode, record
from plans.validation import positive
from xrm_sims.patterns import Milled, Pattern, check_within_field, pattern_from_dict
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings

NO_DOSE = 1e-6  # of a pass: as much as sums of doses may differ by rounding


@dataclass(frozen=True)
class Milling:
    """A pattern and the beam that draws it."""

    scan_type: ClassVar[ScanType] = ScanType.MILLING
    deposits: ClassVar[bool] = False
    pattern: Milled
    current_pa: float
    voltage_kv: float

    @classmethod
    def requested(
        cls, settings: Settings, pattern: Pattern, *, current_pa: float | None = None, voltage_kv: float | None = None
    ) -> Self:
        """The arguments of its plan with the usual current and voltage filled in.

        ValueError when the pattern is none that mills.
        """
        if not isinstance(pattern, Milled):
            needed = "a Rectangle, Polygon, Annulus or CrossSection"
            raise ValueError(f"pattern: {cls.scan_type} needs {needed}, got {type(pattern).__name__}")
        return cls(
            pattern,
            cls.usual_current_pa(settings, pattern) if current_pa is None else current_pa,
            settings.ion.voltage_kv if voltage_kv is None else voltage_kv,
        )

    @staticmethod
    def usual_current_pa(settings: Settings, pattern: Milled) -> float:
        return settings.ion.milling_current_pa

    def optics(self, scope: Scope) -> Values:
        """What the instrument is set to before the first pass."""
        return {scope.fib.voltage_kv: self.voltage_kv, scope.fib.current_pa: self.current_pa}

    def check(self, scope: Scope) -> None:
        """ValueError when the pattern leaves the scan field or the instrument cannot do it."""
        positive(current_pa=self.current_pa)
        check_within_field(self.pattern, scope.settings)
        check_values(self.optics(scope))

    def rate_um3_per_nc(self, settings: Settings) -> float:
        """Volume that a dose is meant to take away, by which a pattern's dose is reckoned."""
        return settings.sputtering.rate_lco_um3_per_nc

    def words(self) -> dict[str, Any]:
        """What its start document says beside the usual."""
        return {}

    def passes_in(self, dose_nc: float, settings: Settings) -> float:
        """How many passes so much dose is."""
        return dose_nc * self.pattern.passes / self.pattern.dose_nc(self.rate_um3_per_nc(settings))

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
    current_pa, voltage_kv : probe current and voltage of the column; the instrument's usual ones for milling when not
        given. The dose is that of the usual voltage: ions of lower energy get less deep with it.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError in one sentence before anything moves.

    Example
    -------
    >>> RE(mill(scope, Rectangle(size_um=(20.0, 20.0), depth_um=1.5)))
    """
    milling = Milling.requested(scope.settings, pattern, current_pa=current_pa, voltage_kv=voltage_kv)
    return (yield from draw(scope, milling, "mill", md))


def resume_mill(
    scope: Scope, start_doc: Mapping[str, Any], dose_done_nc: float, md: Mapping[str, Any] | None = None
) -> Plan[str]:
    """Mill what an interrupted milling has left, as a run of its own; no dose is given twice.

    Parameters
    ----------
    start_doc : start document of any part.
    dose_done_nc : what all parts together have brought onto the pattern. A pass that was cut short is finished, not
        repeated.

    Raises ValueError when the document is not a milling's, NothingLeftError when nothing is left.
    """
    milling = Milling.requested(scope.settings, **told_before(start_doc, ScanType.MILLING))
    return (yield from draw(scope, milling, "resume_mill", md, dose_done_nc=dose_done_nc, link=link_to(start_doc)))


def told_before(start_doc: Mapping[str, Any], scan_type: ScanType) -> dict[str, Any]:
    """Pattern and beam as the start document of an earlier part has them; ValueError when it is of another kind."""
    if start_doc.get("scan_type") != scan_type:
        raise ValueError(f"start_doc: needs a {scan_type}, got {start_doc.get('scan_type')!r}")
    beam = {name: start_doc[name] for name in ("current_pa", "voltage_kv")}
    return {"pattern": pattern_from_dict(start_doc["pattern"]), **beam}


def draw(
    scope: Scope,
    milling: Milling,
    plan_name: str,
    md: Mapping[str, Any] | None,
    *,
    dose_done_nc: float = 0.0,
    link: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """The run of a milling or deposition, less the dose that its earlier parts have given. Returns its uid."""
    milling.check(scope)
    check_md(md)
    pattern = milling.pattern
    passes_done = milling.passes_in(max(0.0, dose_done_nc), scope.settings)
    passes = passes_left(pattern, passes_done)
    if not passes:
        raise NothingLeftError(f"resume: all {pattern.passes} passes are drawn, nothing is left to resume")

    def setup() -> Plan[None]:
        yield from enter_mode(scope, "fib")
        yield from apply(milling.optics(scope))

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
        plan = {
            "plan_name": plan_name,
            "scan_type": milling.scan_type.value,
            "detectors": ["fib_dose_nc"],
            "num_points": len(passes),
            "hints": {},
            "pattern": pattern.as_dict(),
            "passes_done": passes_done,
            "rate_um3_per_nc": milling.rate_um3_per_nc(scope.settings),
            "current_pa": milling.current_pa,
            "voltage_kv": milling.voltage_kv,
            **milling.words(),
            **(link or {}),
        }
        return start_md(scope, plan, md)

    return (yield from record(scope, setup(), measure(), [scope.fib], describe))


def passes_left(pattern: Milled, passes_done: float) -> list[dict[str, Any]]:
    """What each pass from now on draws: the rest of one that was begun, then whole ones."""
    begun, share = int(passes_done + NO_DOSE), passes_done % 1.0
    whole = pattern.as_dict()
    if share < NO_DOSE or share > 1.0 - NO_DOSE:
        return [whole] * (pattern.passes - begun)
    rest = whole | {"depth_um": pattern.depth_um * (1.0 - share) / pattern.passes, "passes": 1}
    return [rest] + [whole] * (pattern.passes - begun - 1)
