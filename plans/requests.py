"""Requests: the arguments of a plan as an object that checks them and estimates the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from plans.deposition import Deposition, deposit
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.ions import sims_raster, sims_request
from plans.milling import Milling, mill
from plans.preflight import Request
from plans.tomography import TomographyScan, tomography
from plans.validation import settable
from xrm_sims.settings import Settings

NOT_SETTABLE = ("scope", "md", "enough")
REQUESTS: dict[Callable[..., Any], Callable[..., Request]] = {
    tomography: lambda settings, **scan: TomographyScan(**scan),
    sims_raster: sims_request,
    mill: Milling.from_arguments,
    deposit: Deposition.from_arguments,
    se_image: se_request,
    eds_map: eds_request,
}


def request_of(plan: Callable[..., Any], settings: Settings, arguments: Mapping[str, Any], what: str) -> Request:
    """Return the request of a plan. ValueError for unknown names and wrong types, which names ``what``."""
    settable(arguments, plan, what, NOT_SETTABLE)
    return REQUESTS[plan](settings, **arguments)
