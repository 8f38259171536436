"""EDS map of a field that was milled and mapped, with the SE images that locate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plans.correlative import CLOSE_UP, WHOLE_PILLAR, About, Aim, Correlative, Registered, Volume
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.instrument import Scope
from plans.metadata import check_md
from plans.stubs import Plan, in_background

PIXELS = (512, 512)


def map_elements(
    scope: Scope,
    so_far: Correlative[Volume, About, Registered],
    *,
    align: Callable[[Aim[About], str], Aim[About]],
    elements: Sequence[str] = ("Ni", "Co"),
    eds_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative[Volume, About, Registered]]:
    """SE image of the pillar → align → SE image of the field → EDS map of the same, all with electrons in one mode.

    The change of mode moves the scan frame: ``align(aim, se_uid) -> Aim`` finds the field from the pillar's image.
    SE image and EDS map of the field share one scan frame, so registering the sharp SE image also places the EDS map.

    Parameters
    ----------
    so_far : of :func:`plans.correlative`; gains the uids ``sem_before``, ``sem`` and ``eds``.
    elements : such as ("Ni", "Co"); ``eds_args`` : further arguments of :func:`plans.eds_map`.
    md : goes into every start document, with ``experiment_uid`` and ``parent_uids``.

    Returns ``so_far``. Raises ValueError before anything moves, or as ``align`` raises it.

    Example
    -------
    >>> RE(map_elements(scope, result, align=align, elements=("Ni", "Co")))
    """
    check_md(md)
    if so_far.aim is None or "sims" not in so_far.uids:
        raise ValueError("so_far: needs an aim and a SIMS map, got none; run plans.correlative first")
    whole: dict[str, Any] = {"fov_um": WHOLE_PILLAR * scope.settings.specimen.diameter_um, "shape": PIXELS}
    field: dict[str, Any] = {"fov_um": CLOSE_UP * so_far.aim.fov_um}
    se_request(scope.settings, **whole).check(scope)
    eds_request(scope.settings, elements=elements, **{**field, **(eds_args or {})}).check(scope)

    so_far.uids["sem_before"] = yield from se_image(scope, **whole, md=so_far.md(md, "tomography", "sims"))
    aim = yield from in_background(align, so_far.aim, so_far.uids["sem_before"])
    field["centre_um"] = aim.centre_um
    so_far.uids["sem"] = yield from se_image(scope, **field, shape=PIXELS, md=so_far.md(md, "tomography", "sem_before"))
    mapped = {**field, **(eds_args or {})}
    so_far.uids["eds"] = yield from eds_map(scope, elements=elements, **mapped, md=so_far.md(md, "tomography", "sem"))
    return so_far
