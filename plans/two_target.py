"""Tomography with two target materials, to distinguish phases that absorb alike with one of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from plans.instrument import Scope
from plans.metadata import check_md
from plans.preflight import Preflight, Request, free_bytes, together, weigh
from plans.requests import request_of
from plans.stubs import Plan
from plans.tomography import tomography

TARGETS = ("W", "Cu")


def two_target_tomography(
    scope: Scope,
    *,
    targets: Sequence[str] = TARGETS,
    second_scan: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
    **scan: Any,
) -> Plan[tuple[str, str]]:
    """Take a tomography with one X-ray target, then another with a second target, of the same specimen.

    The K lines of copper lie between the K edges of cobalt and nickel, so that LCO absorbs far more than NCA with a
    copper target; with tungsten both absorb alike. Between the scans the manipulator parks, exchanges the target and
    returns. Each scan has its own darks, flats and reference images, because spectrum and focal spot differ, and its
    geometry is corrected from its own projections. Both start documents have one ``experiment_uid``; ``parent_uids`` of
    the second scan holds the first.

    Parameters
    ----------
    targets : two materials, in the order of the scans.
    second_scan : arguments of :func:`tomography` for the second scan only; phases need far fewer counts than particles.
    scan : further arguments of :func:`tomography`, for both scans.
    md : goes into both start documents.

    Returns both uids. Raises ValueError before anything moves. However the plan ends, the beam is blanked and the
    target parked. ``resume`` completes an interrupted scan; the second scan can also be taken on its own.

    Example
    -------
    >>> RE(two_target_tomography(scope, num=600, step_deg=0.6, binning=4, second_scan={"exposure_s": 9.0}))
    """
    first, second = scans(targets, scan, second_scan)
    check_md(md)
    for each in (first, second):
        request_of(tomography, scope.settings, each, "two_target_tomography").check(scope)
    experiment = {**(md or {}), "experiment_uid": (md or {}).get("experiment_uid", str(uuid.uuid4()))}
    uid = yield from tomography(scope, **first, md={**experiment, "parent_uids": []})
    return uid, (yield from tomography(scope, **second, md={**experiment, "parent_uids": [uid]}))


def weigh_two_target(
    scope: Scope, targets: Sequence[str] = TARGETS, second_scan: Mapping[str, Any] | None = None, **scan: Any
) -> Preflight:
    """Estimate time, dose and disk space of both scans."""
    try:
        both = scans(targets, scan, second_scan)
    except ValueError as refused:
        return Preflight("two_target_tomography", None, free_bytes(scope), (str(refused),))

    def request(scan: Mapping[str, Any]) -> Request:
        return request_of(tomography, scope.settings, scan, "two_target_tomography")

    parts = [weigh(scope, f"tomography {each['target']}", partial(request, each)) for each in both]
    return together("two_target_tomography", parts)


def scans(
    targets: Sequence[str], scan: Mapping[str, Any], second_scan: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of both tomographies. ValueError unless there are two different targets."""
    if isinstance(targets, str) or len(targets) != 2 or targets[0] == targets[1]:
        raise ValueError(f"targets: needs two different materials, such as ('W', 'Cu'), got {targets!r}")
    if not isinstance(second_scan, Mapping | None):
        raise ValueError(f"second_scan: needs settings by name, such as {{'exposure_s': 9.0}}, got {second_scan!r}")
    if "target" in {**scan, **(second_scan or {})}:
        raise ValueError("target: two_target_tomography takes both materials in targets; leave target out")
    return {**scan, "target": targets[0]}, {**scan, **(second_scan or {}), "target": targets[1]}
