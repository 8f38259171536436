"""Bluesky plans; every one takes the instrument, ``scope``, first and returns the uid of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plans.correlative import Aim, Correlative, correlative
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.ions import mill, milling_request, sims_raster, sims_request
from plans.preflight import Estimate, Preflight, weigh
from plans.tomography import TomographyScan, resume_tomography, tomography
from xrm_sims.settings import Settings

_ESTIMATES: dict[Callable[..., Any], Callable[..., Estimate]] = {
    tomography: lambda settings, **scan: TomographyScan(**scan).estimate(settings),
    sims_raster: lambda settings, **sims: sims_request(settings, **sims).estimate(settings),
    mill: lambda settings, pattern, **milling: milling_request(settings, pattern, **milling).estimate(settings),
    se_image: lambda settings, **scan: se_request(settings, **scan).estimate(settings),
    eds_map: lambda settings, **scan: eds_request(settings, **scan).estimate(settings),
}


def preflight(scope: Any, plan: Callable[..., Any], **arguments: Any) -> Preflight:
    """Time, dose, eroded depth, disk and limits of a plan called with these arguments; nothing moves, no beam.

    Example
    -------
    >>> print(preflight(scope, tomography, num=1200, exposure_s=90.0))
    """
    if plan not in _ESTIMATES:
        raise ValueError(f"plan: needs one of {', '.join(p.__name__ for p in _ESTIMATES)}, got {plan!r}")

    def estimate(settings: Settings) -> Estimate:
        return _ESTIMATES[plan](settings, **{key: value for key, value in arguments.items() if key != "md"})

    return weigh(scope, plan.__name__, estimate)


__all__ = [
    "Aim",
    "Correlative",
    "Estimate",
    "Preflight",
    "correlative",
    "eds_map",
    "mill",
    "preflight",
    "resume_tomography",
    "se_image",
    "sims_raster",
    "tomography",
]
