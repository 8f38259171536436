"""Deposition: the gallium beam grows platinum from a precursor gas, pass by pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from plans.instrument import Scope
from plans.milling import Milling, draw, draw_rest
from plans.stubs import Plan
from xrm_sims.patterns import Milled, Pattern, check_deposition
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings


@dataclass(frozen=True)
class Deposition(Milling):
    """A pattern whose depth is the height of the layer, and the beam that draws it."""

    scan_type: ClassVar[ScanType] = ScanType.DEPOSITION
    deposits: ClassVar[bool] = True
    extra_md: ClassVar[Mapping[str, Any]] = {"material": "Pt20C80"}

    def rate_um3_per_nc(self, settings: Settings) -> float:
        return settings.deposition.rate_um3_per_nc

    def check(self, scope: Scope) -> None:
        """ValueError as for milling, and when the pattern is not solid or the beam uses up the gas."""
        super().check(scope)
        check_deposition(self.pattern, self.current_pa, scope.settings)

    @staticmethod
    def default_current_pa(settings: Settings, pattern: Milled) -> float:
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
    """Deposit platinum with the gallium beam, pass by pass; each pass is a checkpoint and an event with the dose so
    far. The precursor gas flows only while a pass is drawn.

    The parameters are those of :func:`plans.mill`, with the height of the layer as the pattern's ``depth_um``. The
    default of ``current_pa`` is proportional to the pattern's area.

    Example
    -------
    >>> RE(deposit(scope, Rectangle(size_um=(10.0, 10.0), depth_um=1.0)))
    """
    deposition = Deposition.from_arguments(scope.settings, pattern, current_pa=current_pa, voltage_kv=voltage_kv)
    return (yield from draw(scope, deposition, "deposit", md))


def resume_deposit(
    scope: Scope, start_doc: Mapping[str, Any], dose_done_nc: float, md: Mapping[str, Any] | None = None
) -> Plan[str]:
    """Deposit the rest of an interrupted deposition; see :func:`plans.resume_mill`."""
    return (yield from draw_rest(scope, Deposition, "resume_deposit", start_doc, dose_done_nc, md))
