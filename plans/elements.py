"""Elements of a field that ions have exposed: an EDS map under the electron beam, and the images it is placed by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plans.correlative import CLOSE_UP, Aim, Correlative
from plans.imaging import eds_map, eds_request, se_image, se_request
from plans.instrument import Scope
from plans.metadata import check_md
from plans.stubs import Plan, in_background

PIXELS = (512, 512)


def map_elements(
    scope: Scope,
    so_far: Correlative,
    *,
    align: Callable[[Aim, str], Aim],
    elements: Sequence[str] = ("Ni", "Co"),
    eds_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative]:
    """SE image of the pillar → align → SE image of the field → EDS map of the same, all with electrons in one mode.

    Electrons take nothing away, but the change of mode moves the scan frame: ``align(aim, se_uid) -> Aim`` says from
    the pillar's image where the electron beam has the field. Both images of the field lie in one scan frame, so that
    what places the sharp one places the EDS map.

    Parameters
    ----------
    so_far : of :func:`plans.correlative`; gains the uids ``sem_before``, ``sem`` and ``eds``.
    elements : such as ("Ni", "Co"); ``eds_args`` : further arguments of :func:`plans.eds_map`.
    md : goes into every start document, with ``experiment_uid`` and ``parent_uids``.

    Returns ``so_far``. ValueError in one sentence before anything moves, or as ``align`` raises it.

    Example
    -------
    >>> RE(map_elements(scope, result, align=align, elements=("Ni", "Co")))
    """
    check_md(md)
    if so_far.aim is None or "sims" not in so_far.uids:
        raise ValueError("so_far: needs a field that was exposed and mapped, got none")
    whole: dict[str, Any] = {"fov_um": 1.3 * scope.settings.specimen.diameter_um, "shape": PIXELS}
    field: dict[str, Any] = {"fov_um": CLOSE_UP * so_far.aim.fov_um}
    se_request(scope.settings, **whole).check(scope)
    eds_request(scope.settings, elements=elements, **{**field, **(eds_args or {})}).check(scope)

    def linked(*parents: str) -> dict[str, Any]:
        uids = [so_far.uids[name] for name in parents]
        return {**(md or {}), "experiment_uid": so_far.experiment_uid, "parent_uids": uids}

    so_far.uids["sem_before"] = yield from se_image(scope, **whole, md=linked("tomography", "sims"))
    aim = yield from in_background(align, so_far.aim, so_far.uids["sem_before"])
    field["centre_um"] = aim.centre_um
    so_far.uids["sem"] = yield from se_image(scope, **field, shape=PIXELS, md=linked("tomography", "sem_before"))
    mapped = {**field, **(eds_args or {})}
    so_far.uids["eds"] = yield from eds_map(scope, elements=elements, **mapped, md=linked("tomography", "sem"))
    return so_far
