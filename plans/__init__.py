"""Bluesky plans; every one takes the instrument, ``scope``, first and returns the uid of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plans.correlative import Aim, Correlative, correlative, dig_and_map, weigh_correlative
from plans.deposition import Deposition, deposit, resume_deposit
from plans.elements import map_elements
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.instrument import Scope
from plans.ions import resume_sims_raster, sims_raster, sims_request
from plans.milling import Milling, mill, resume_mill
from plans.night import check_sheet, night
from plans.night_record import Night, Outcome, Unfinished
from plans.preflight import Estimate, Preflight, Request, weigh
from plans.sheet import Sheet, SheetError, read_sheet
from plans.steps import Bench, Computed
from plans.tomography import TomographyScan, resume_tomography, tomography
from plans.two_target import two_target_tomography, weigh_two_target

_REQUESTS: dict[Callable[..., Any], Callable[..., Request]] = {
    tomography: lambda settings, **scan: TomographyScan(**scan),
    sims_raster: sims_request,
    mill: Milling.requested,
    deposit: Deposition.requested,
    se_image: se_request,
    eds_map: eds_request,
}


def preflight(scope: Scope, plan: Callable[..., Any], **arguments: Any) -> Preflight:
    """Time, dose, eroded depth, disk and limits of a plan called with these arguments; nothing moves, no beam.

    Example
    -------
    >>> print(preflight(scope, tomography, num=1200, exposure_s=90.0))
    """
    if plan is correlative:
        return weigh_correlative(scope, **arguments)
    wanted = {key: value for key, value in arguments.items() if key != "md"}
    if plan is two_target_tomography:
        return weigh_two_target(scope, **wanted)
    if plan not in _REQUESTS:
        raise ValueError(f"plan: needs one of {', '.join(p.__name__ for p in _REQUESTS)}, got {plan!r}")
    return weigh(scope, plan.__name__, lambda: _REQUESTS[plan](scope.settings, **wanted))


__all__ = [
    "Aim",
    "Bench",
    "Computed",
    "Correlative",
    "Estimate",
    "Night",
    "Outcome",
    "Preflight",
    "Sheet",
    "SheetError",
    "Unfinished",
    "check_sheet",
    "correlative",
    "deposit",
    "dig_and_map",
    "eds_map",
    "eds_request",
    "map_elements",
    "mill",
    "night",
    "preflight",
    "read_sheet",
    "resume_deposit",
    "resume_mill",
    "resume_sims_raster",
    "resume_tomography",
    "se_image",
    "sims_raster",
    "tomography",
    "two_target_tomography",
]
