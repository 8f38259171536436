"""Estimates of plans before they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plans.correlative import correlative, weigh_correlative
from plans.deposition import Deposition, deposit
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.instrument import Scope
from plans.ions import sims_raster, sims_request
from plans.milling import Milling, mill
from plans.preflight import Preflight, Request, weigh
from plans.tomography import TomographyScan, tomography
from plans.two_target import two_target_tomography, weigh_two_target

REQUESTS: dict[Callable[..., Any], Callable[..., Request]] = {
    tomography: lambda settings, **scan: TomographyScan(**scan),
    sims_raster: sims_request,
    mill: Milling.from_arguments,
    deposit: Deposition.from_arguments,
    se_image: se_request,
    eds_map: eds_request,
}


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
