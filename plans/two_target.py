"""The same scan with two target materials, which tell apart what one of them sees alike."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from plans.instrument import Scope
from plans.metadata import check_md
from plans.preflight import Preflight, free_bytes, together, weigh
from plans.stubs import Plan
from plans.tomography import TomographyScan, tomography
from plans.validation import settable

TARGETS = ("W", "Cu")


def two_target_tomography(
    scope: Scope,
    *,
    targets: Sequence[str] = TARGETS,
    second_scan: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
    **scan: Any,
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
    second_scan : arguments of :func:`tomography` that the second scan has otherwise: the phases are told from far fewer
        counts than the particles are.
    scan : further arguments of :func:`tomography`, for both scans.
    md : goes into both start documents.

    Returns both uids. Raises ValueError in one sentence before anything moves. Whatever happens the beam ends blanked
    and the target parked; an interrupted scan is finished by ``resume``, and the second may also be taken by itself.

    Example
    -------
    >>> RE(two_target_tomography(scope, num=600, step_deg=0.6, binning=4, second_scan={"exposure_s": 9.0}))
    """
    first, second = scans(targets, scan, second_scan)
    check_md(md)
    for each in (first, second):
        _request(each).check(scope)
    experiment = {**(md or {}), "experiment_uid": (md or {}).get("experiment_uid", str(uuid.uuid4()))}
    uid = yield from tomography(scope, **first, md={**experiment, "parent_uids": []})
    return uid, (yield from tomography(scope, **second, md={**experiment, "parent_uids": [uid]}))


def weigh_two_target(
    scope: Scope, targets: Sequence[str] = TARGETS, second_scan: Mapping[str, Any] | None = None, **scan: Any
) -> Preflight:
    """Time, dose and disk of both scans."""
    try:
        both = scans(targets, scan, second_scan)
    except ValueError as refused:
        return Preflight("two_target_tomography", None, free_bytes(scope), (str(refused),))
    parts = [weigh(scope, f"tomography {each['target']}", partial(_request, each)) for each in both]
    return together("two_target_tomography", parts)


def scans(
    targets: Sequence[str], scan: Mapping[str, Any], second_scan: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of both tomographies. ValueError unless the targets are two different ones."""
    if isinstance(targets, str) or len(targets) != 2 or targets[0] == targets[1]:
        raise ValueError(f"targets: needs two different materials, such as ('W', 'Cu'), got {targets!r}")
    if not isinstance(second_scan, Mapping | None):
        raise ValueError(f"second_scan: needs settings by name, such as {{'exposure_s': 9.0}}, got {second_scan!r}")
    if "target" in {**scan, **(second_scan or {})}:
        raise ValueError("target: two_target_tomography has no such setting; it has targets, for both scans")
    return {**scan, "target": targets[0]}, {**scan, **(second_scan or {}), "target": targets[1]}


def _request(scan: Mapping[str, Any]) -> TomographyScan:
    settable(scan, tomography, "two_target_tomography", ("scope", "md", "enough"))
    return TomographyScan(**scan)
