"""The same scan with two target materials, which tell apart what one of them sees alike."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from plans.metadata import check_md
from plans.preflight import Preflight, free_bytes, together, weigh
from plans.stubs import Plan
from plans.tomography import TomographyScan, tomography
from plans.validation import settable

TARGETS = ("W", "Cu")


def two_target_tomography(
    scope: Any, *, targets: Sequence[str] = TARGETS, md: Mapping[str, Any] | None = None, **scan: Any
) -> Plan[tuple[str, str]]:
    """A tomography with one X-ray target, then the same with another, of a specimen that stays where it is.

    Copper's K line lies between the K edges of cobalt and nickel, so that with it LCO absorbs far more than NCA, which
    tungsten's lines see alike. In between the manipulator parks, exchanges the target and comes back; every scan has
    darks, flats and reference images of its own, because beam and focal spot are others, and its geometry is found
    from its own projections. Both start documents have one ``experiment_uid``; the second's ``parent_uids`` is the
    first.

    Parameters
    ----------
    targets : two materials, in their order.
    scan : further arguments of :func:`tomography`, for both scans.
    md : goes into both start documents.

    Returns both uids. Raises ValueError in one sentence before anything moves. Whatever happens the beam ends blanked
    and the target parked; an interrupted scan is finished by ``resume``, and the second may also be taken by itself.

    Example
    -------
    >>> RE(two_target_tomography(scope, num=600, step_deg=0.6, binning=4))
    """
    first, second = check_targets(targets)
    check_md(md)
    for target in targets:
        _request(target, scan).check(scope)
    experiment = {**(md or {}), "experiment_uid": (md or {}).get("experiment_uid", str(uuid.uuid4()))}
    uid = yield from tomography(scope, **scan, target=first, md={**experiment, "parent_uids": []})
    return uid, (yield from tomography(scope, **scan, target=second, md={**experiment, "parent_uids": [uid]}))


def weigh_two_target(scope: Any, targets: Sequence[str] = TARGETS, **scan: Any) -> Preflight:
    """Time, dose and disk of both scans."""
    try:
        check_targets(targets)
    except ValueError as refused:
        return Preflight("two_target_tomography", None, free_bytes(scope), (str(refused),))
    parts = [weigh(scope, f"tomography {target}", partial(_request, target, scan)) for target in targets]
    return together("two_target_tomography", parts)


def check_targets(targets: Sequence[str]) -> Sequence[str]:
    """ValueError unless there are two different ones."""
    if isinstance(targets, str) or len(targets) != 2 or targets[0] == targets[1]:
        raise ValueError(f"targets: needs two different materials, such as ('W', 'Cu'), got {targets!r}")
    return targets


def _request(target: str, scan: Mapping[str, Any]) -> TomographyScan:
    settable(scan, tomography, "two_target_tomography", ("scope", "md", "enough", "target"))
    return TomographyScan(**scan, target=target)
