"""The whole experiment: from a scan to the chemistry of a buried defect."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from plans.imaging import se_image, se_request
from plans.instrument import Scope
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
KEEP_UM, KEEP_SHARE = 0.4, 0.2  # of a depth: what the first milling leaves where the plane is looked at
MOST_STEPS = 8  # of milling, before it is doubted that the plane will ever be reached


@dataclass(frozen=True)
class Aim:
    """What to dig and map, in the scan frame of the ion beam; ``about`` is whatever the functions need.

    ``reached`` : the plane is exposed, ``mill`` need not be drawn. ``sims_args`` : further arguments of the map that it
    wants, such as shape and dwell.
    """

    mill: Rectangle
    fov_um: float
    centre_um: tuple[float, float] = (0.0, 0.0)
    about: Any = None
    reached: bool = False
    sims_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Correlative:
    """What came of it. ``uids``: tomography, se_before, milling, se_after, sims; further steps of milling and their
    images are milling_2, se_after_2 and so on."""

    experiment_uid: str
    uids: dict[str, str] = field(default_factory=dict)
    volume: Any = None
    aim: Aim | None = None
    registration: Any = None

    def latest(self, kind: str) -> str:
        """Uid of the last ``milling`` or ``se_after``, of which there is at least one."""
        return [uid for name, uid in self.uids.items() if name == kind or name.startswith(f"{kind}_")][-1]


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
        "coarse milling": lambda: Milling.requested(
            settings, short_of_the_plane(anywhere.mill), **_coarse(settings, mill_args)
        ),
        "milling": lambda: Milling.requested(settings, _rest_of(anywhere.mill), **(mill_args or {})),
        "sims": lambda: sims_request(settings, **{"fov_um": anywhere.fov_um, **(sims_args or {})}),
    }


def weigh_correlative(scope: Scope, **arguments: Any) -> Preflight:
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
        plan = "mill" if name.endswith("milling") else name
        known = {**given.get(plan, {}), **(arguments.get(f"{plan}_args") or {})}
        settable(known, plan_of[plan], plan, ("scope", "md", "enough"))
        return requests[name]()

    order = ("tomography", "se", "coarse milling", "se", "milling", "se", "sims")
    return together("correlative", [weigh(scope, name, partial(asked, name)) for name in order])


def correlative(
    scope: Scope,
    *,
    reconstruct: Callable[[str], Any],
    choose: Callable[[Any], Aim],
    register: Callable[[Correlative], Any],
    align: Callable[[Aim, str], Aim] | None = None,
    verify: Callable[[Aim, str], Aim] | None = None,
    tomography_args: Mapping[str, Any] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative]:
    """Tomography → reconstruct → choose → then as :func:`dig_and_map`.

    The functions compute beside the RunEngine, so that pause, Ctrl-C and progress stay alive meanwhile:

    - ``reconstruct(tomography_uid) -> volume``, whatever ``choose`` understands;
    - ``choose(volume) -> Aim``; raises ValueError when there is nothing worth digging for;
    - ``align``, ``verify``, ``register`` : see :func:`dig_and_map`.

    Parameters
    ----------
    tomography_args, mill_args, sims_args : further arguments of those plans.
    se_args : further arguments of all ion images. The first shows the whole pillar unless ``fov_um`` says otherwise,
        the others the milled field.
    md : goes into every start document, with ``experiment_uid`` and ``parent_uids``.

    Returns uids and results. Whatever happens both beams end blanked and the target parked.
    """
    check_md(md)
    for request in _requests(scope.settings, tomography_args, se_args, mill_args, sims_args).values():
        request().check(scope)
    result = Correlative((md or {}).get("experiment_uid", str(uuid.uuid4())))
    first = {**(md or {}), "experiment_uid": result.experiment_uid, "parent_uids": []}
    result.uids["tomography"] = yield from tomography(scope, **(tomography_args or {}), md=first)
    result.volume = yield from in_background(reconstruct, result.uids["tomography"])
    result.aim = yield from in_background(choose, result.volume)
    return (
        yield from dig_and_map(
            scope,
            result,
            register=register,
            align=align,
            verify=verify,
            se_args=se_args,
            mill_args=mill_args,
            sims_args=sims_args,
            md=md,
        )
    )


def dig_and_map(
    scope: Scope,
    so_far: Correlative,
    *,
    register: Callable[[Correlative], Any],
    align: Callable[[Aim, str], Aim] | None = None,
    verify: Callable[[Aim, str], Aim] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative]:
    """Ion image → align → (mill → ion image → verify)* → SIMS → register, of what a tomogram has shown.

    - ``align(aim, se_uid) -> Aim`` (optional): where the scan frame, changed with the mode, really has it;
    - ``verify(aim, se_uid) -> Aim`` (optional): from the image of the plane that was reached, where the field is and
      what is still to be milled, ``reached`` when nothing is; raises ValueError when that cannot be told, or too much
      is gone.
      With it the first milling is coarse (``settings.ion.coarse_milling_current_pa``, unless ``mill_args`` has a
      current) and stops short of the plane, by the larger of ``KEEP_UM`` and ``KEEP_SHARE`` of the depth;
    - ``register(result) -> registration``, given everything measured so far.

    ``so_far`` holds the uid of the tomography, the volume and the aim. The other arguments are those of
    :func:`correlative`. Returns ``so_far`` with what was added; whatever happens both beams end blanked.
    """
    settings = scope.settings
    check_md(md)
    if so_far.aim is None:
        raise ValueError("aim: needs a box to mill down to what was found in the tomogram, got none")
    aim = so_far.aim
    image, mills = _image(settings, se_args), dict(mill_args or {})

    def linked(*parents: str) -> dict[str, Any]:
        uids = [so_far.uids[name] for name in parents]
        return {**(md or {}), "experiment_uid": so_far.experiment_uid, "parent_uids": uids}

    def where() -> dict[str, Any]:
        return {"fov_um": aim.fov_um, "centre_um": aim.centre_um}

    def sims() -> dict[str, Any]:
        return {**where(), **aim.sims_args, **(sims_args or {})}

    so_far.uids["se_before"] = yield from se_image(scope, **image, md=linked("tomography"))
    if align is not None:
        aim = yield from in_background(align, aim, so_far.uids["se_before"])
    if verify is not None:
        aim = replace(aim, mill=short_of_the_plane(aim.mill))
    so_far.aim = aim
    sims_request(settings, **sims()).check(scope)  # nothing is dug that cannot be mapped
    milled, seen = "milling", "se_before"
    for step in range(1, MOST_STEPS + 1):
        before, milled, seen = seen, _numbered("milling", step), _numbered("se_after", step)
        beam = _coarse(settings, mills) if verify is not None and step == 1 else mills
        so_far.uids[milled] = yield from mill(scope, aim.mill, **beam, md=linked("tomography", before))
        close_up = {**image, **where(), "fov_um": CLOSE_UP * aim.fov_um}
        so_far.uids[seen] = yield from se_image(scope, **close_up, md=linked("tomography", milled))
        if verify is None:
            break
        so_far.aim = aim = yield from in_background(verify, aim, so_far.uids[seen])
        if aim.reached:
            break
    else:
        raise ValueError(f"milling: the plane was not reached in {MOST_STEPS} steps; look at the images after each")
    so_far.uids["sims"] = yield from sims_raster(scope, **sims(), md=linked("tomography", milled))
    so_far.registration = yield from in_background(register, so_far)
    return so_far


def short_of_the_plane(box: Rectangle) -> Rectangle:
    """As much of a milling as is safe before the plane is looked at; all of it where little is to be taken."""
    taken_um = box.depth_um - _kept_um(box)
    return box if taken_um <= 0 else replace(box, depth_um=taken_um)


def _rest_of(box: Rectangle) -> Rectangle:
    return replace(box, depth_um=min(box.depth_um, _kept_um(box)))


def _kept_um(box: Rectangle) -> float:
    return max(KEEP_UM, KEEP_SHARE * box.depth_um)


def _coarse(settings: Settings, mill_args: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"current_pa": settings.ion.coarse_milling_current_pa, **(mill_args or {})}


def _numbered(name: str, step: int) -> str:
    return name if step == 1 else f"{name}_{step}"
