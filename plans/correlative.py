"""The whole experiment: from a scan to the chemistry of a buried defect."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from plans.imaging import se_image, se_request
from plans.ions import sims_raster, sims_request
from plans.metadata import check_md
from plans.milling import Milling, mill
from plans.preflight import Preflight, Request, together, weigh
from plans.stubs import Plan, in_background
from plans.tomography import TomographyScan, tomography
from plans.validation import settable
from xrm_sims.patterns import Rectangle
from xrm_sims.settings import Settings

CLOSE_UP = 1.3  # the image of the milled field reaches that much beyond the map


@dataclass(frozen=True)
class Aim:
    """What to dig and map, in the scan frame of the ion beam; ``about`` is whatever ``align`` and ``register`` need."""

    mill: Rectangle
    fov_um: float
    centre_um: tuple[float, float] = (0.0, 0.0)
    about: Any = None


@dataclass
class Correlative:
    """What came of it. ``uids``: tomography, se_before, milling, se_after, sims."""

    experiment_uid: str
    uids: dict[str, str] = field(default_factory=dict)
    volume: Any = None
    aim: Aim | None = None
    registration: Any = None


def typical_aim(settings: Settings) -> Aim:
    """For checks and estimates before anything was found."""
    field_um = settings.scan.fov_um
    return Aim(Rectangle((field_um, field_um), settings.scan.roi_depth_um), field_um)


def _image(settings: Settings, se_args: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"fov_um": 1.3 * settings.specimen.diameter_um, "source": "ion", **(se_args or {})}


def _requests(
    settings: Settings,
    tomography_args: Mapping[str, Any] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
) -> dict[str, Callable[[], Request]]:
    """What will be measured; where to dig is not known yet, everything else is."""
    anywhere = typical_aim(settings)
    return {
        "tomography": lambda: TomographyScan(**(tomography_args or {})),
        "se": lambda: se_request(settings, **_image(settings, se_args)),
        "mill": lambda: Milling.requested(settings, anywhere.mill, **(mill_args or {})),
        "sims": lambda: sims_request(settings, **{"fov_um": anywhere.fov_um, **(sims_args or {})}),
    }


def weigh_correlative(scope: Any, **arguments: Any) -> Preflight:
    """Time, dose and disk of :func:`correlative`, measured parts only; a defect of usual depth is assumed."""
    requests = _requests(scope.settings, **{name: arguments[name] for name in arguments if name.endswith("_args")})
    plan_of: dict[str, Callable[..., Any]] = {
        "tomography": tomography,
        "se": se_image,
        "mill": mill,
        "sims": sims_raster,
    }
    there = typical_aim(scope.settings)
    given = {"se": _image(scope.settings, None), "sims": {"fov_um": there.fov_um}, "mill": {"pattern": there.mill}}

    def asked(name: str) -> Request:
        known = {**given.get(name, {}), **(arguments.get(f"{name}_args") or {})}
        settable(known, plan_of[name], name, ("scope", "md", "enough"))
        return requests[name]()

    parts = [weigh(scope, name, partial(asked, name)) for name in ("tomography", "se", "mill", "se", "sims")]
    return together("correlative", parts)


def correlative(
    scope: Any,
    *,
    reconstruct: Callable[[str], Any],
    choose: Callable[[Any], Aim],
    register: Callable[[Correlative], Any],
    align: Callable[[Aim, str], Aim] | None = None,
    tomography_args: Mapping[str, Any] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative]:
    """Tomography → reconstruct → choose → ion image → align → mill → ion image → SIMS → register.

    The four functions compute beside the RunEngine, so that pause, Ctrl-C and progress stay alive meanwhile:

    - ``reconstruct(tomography_uid) -> volume``, whatever ``choose`` understands;
    - ``choose(volume) -> Aim``; raises ValueError when there is nothing worth digging for;
    - ``align(aim, se_uid) -> Aim`` (optional): where the scan frame, changed with the mode, really has it;
    - ``register(result) -> registration``, given everything measured so far.

    Parameters
    ----------
    tomography_args, mill_args, sims_args : further arguments of those plans.
    se_args : further arguments of both ion images. The first shows the whole pillar unless ``fov_um`` says otherwise,
        the second the milled field.
    md : goes into every start document, with ``experiment_uid`` and ``parent_uids``.

    Returns uids and results. Whatever happens both beams end blanked and the target parked.
    """
    settings = scope.settings
    check_md(md)
    for request in _requests(settings, tomography_args, se_args, mill_args, sims_args).values():
        request().check(scope)
    image = _image(settings, se_args)
    ct, mills, sims = dict(tomography_args or {}), dict(mill_args or {}), dict(sims_args or {})

    result = Correlative((md or {}).get("experiment_uid", str(uuid.uuid4())))

    def linked(*parents: str) -> dict[str, Any]:
        uids = [result.uids[name] for name in parents]
        return {**(md or {}), "experiment_uid": result.experiment_uid, "parent_uids": uids}

    result.uids["tomography"] = yield from tomography(scope, **ct, md=linked())
    result.volume = yield from in_background(reconstruct, result.uids["tomography"])
    aim = yield from in_background(choose, result.volume)
    result.uids["se_before"] = yield from se_image(scope, **image, md=linked("tomography"))
    if align is not None:
        aim = yield from in_background(align, aim, result.uids["se_before"])
    result.aim = aim
    field_of_aim = {"fov_um": aim.fov_um, "centre_um": aim.centre_um, **sims}
    sims_request(settings, **field_of_aim).check(scope)  # nothing is dug that cannot be mapped
    Milling.requested(settings, aim.mill, **mills).check(scope)
    result.uids["milling"] = yield from mill(scope, aim.mill, **mills, md=linked("tomography", "se_before"))
    close_up = {**image, "fov_um": CLOSE_UP * aim.fov_um, "centre_um": aim.centre_um}
    result.uids["se_after"] = yield from se_image(scope, **close_up, md=linked("tomography", "milling"))
    result.uids["sims"] = yield from sims_raster(scope, **field_of_aim, md=linked("tomography", "milling"))
    result.registration = yield from in_background(register, result)
    return result
