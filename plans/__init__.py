"""Bluesky plans. Each takes the instrument, ``scope``, first and returns the uid of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plans.correlative import Aim, Correlative, correlative, dig_and_map, weigh_correlative
from plans.deposition import deposit, resume_deposit
from plans.elements import map_elements
from plans.imaging import eds_map, eds_request, se_image
from plans.instrument import Scope
from plans.ions import resume_sims_raster, sims_raster
from plans.milling import mill, resume_mill
from plans.night import check_sheet, night
from plans.night_record import Night, Outcome, Unfinished
from plans.preflight import Estimate, Preflight, weigh
from plans.requests import REQUESTS
from plans.sheet import Sheet, SheetError, read_sheet
from plans.steps import Bench, Computed
from plans.tomography import resume_tomography, tomography
from plans.two_target import two_target_tomography, weigh_two_target


def preflight(scope: Scope, plan: Callable[..., Any], **arguments: Any) -> Preflight:
    """Estimate time, dose, eroded depth and disk space of a plan called with these arguments, and check its limits.

    Nothing moves, and no beam is switched on.

    Example
    -------
    >>> print(preflight(scope, tomography, num=1200, exposure_s=90.0))
    """
    if plan is correlative:
        return weigh_correlative(scope, **arguments)
    given = {key: value for key, value in arguments.items() if key != "md"}
    if plan is two_target_tomography:
        return weigh_two_target(scope, **given)
    if plan not in REQUESTS:
        raise ValueError(f"plan: needs one of {', '.join(p.__name__ for p in REQUESTS)}, got {plan!r}")
    return weigh(scope, plan.__name__, lambda: REQUESTS[plan](scope.settings, **given))


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
