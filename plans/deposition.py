"""What the gallium beam puts down: platinum from a precursor gas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from plans.instrument import Scope
from plans.metadata import link_to
from plans.milling import Milling, draw, told_before
from plans.stubs import Plan
from xrm_sims.patterns import Milled, Pattern, check_deposition
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings


@dataclass(frozen=True)
class Deposition(Milling):
    """A pattern whose depth is the height of the layer, and the beam that draws it."""

    scan_type: ClassVar[ScanType] = ScanType.DEPOSITION
    deposits: ClassVar[bool] = True

    def rate_um3_per_nc(self, settings: Settings) -> float:
        return settings.deposition.rate_um3_per_nc

    def words(self) -> dict[str, Any]:
        return {"material": "Pt20C80"}

    def check(self, scope: Scope) -> None:
        """ValueError when the pattern leaves the scan field, the gas cannot feed the beam, or the instrument cannot
        do it."""
        super().check(scope)
        check_deposition(self.pattern, self.current_pa, scope.settings)

    @staticmethod
    def usual_current_pa(settings: Settings, pattern: Milled) -> float:
        low_pa, high_pa = settings.ion.current_limits_pa
        return min(max(settings.deposition.pa_per_um2 * pattern.area_um2, low_pa), high_pa)


def deposit(
    scope: Scope,
    pattern: Pattern,
    *,
    current_pa: float | None = None,
    voltage_kv: float | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Put platinum down with the gallium beam, pass by pass; each pass is a checkpoint and an event with the dose so
    far. The precursor gas flows only while a pass is drawn.

    Parameters
    ----------
    pattern : a Rectangle, Polygon, Annulus or CrossSection in the scan frame; its ``depth_um`` is the layer's height.
    current_pa : probe current; the usual one per area of the pattern when not given.
    voltage_kv : of the column; the usual one when not given.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError in one sentence before anything moves.

    Example
    -------
    >>> RE(deposit(scope, Rectangle(size_um=(10.0, 10.0), depth_um=1.0)))
    """
    deposition = Deposition.requested(scope.settings, pattern, current_pa=current_pa, voltage_kv=voltage_kv)
    return (yield from draw(scope, deposition, "deposit", md))


def resume_deposit(
    scope: Scope, start_doc: Mapping[str, Any], dose_done_nc: float, md: Mapping[str, Any] | None = None
) -> Plan[str]:
    """Put down what an interrupted deposition has left; as :func:`~plans.milling.resume_mill`."""
    deposition = Deposition.requested(scope.settings, **told_before(start_doc, Deposition.scan_type))
    return (
        yield from draw(scope, deposition, "resume_deposit", md, dose_done_nc=dose_done_nc, link=link_to(start_doc))
    )
