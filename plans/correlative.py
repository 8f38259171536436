"""The correlative experiment: tomography, then milling down to a buried defect, then SIMS maps of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from plans.imaging import se_image
from plans.instrument import Scope
from plans.ions import sims_raster, sims_request
from plans.metadata import check_md
from plans.milling import mill
from plans.preflight import Preflight, Request, together, weigh
from plans.requests import REQUESTS, request_of
from plans.stubs import Plan, in_background
from plans.tomography import tomography
from xrm_sims.patterns import Rectangle
from xrm_sims.settings import Settings

WHOLE_PILLAR = 1.3  # width of an image of the whole pillar, in pillar diameters
CLOSE_UP = 1.3  # width of the image of the milled field, in widths of the map
KEEP_UM, KEEP_SHARE = 0.4, 0.2  # the first milling leaves the larger of this depth and this share of the depth
MAX_MILLING_STEPS = 8

Volume = TypeVar("Volume")  # returned by ``reconstruct``
About = TypeVar("About")  # what an aim was computed from
Registered = TypeVar("Registered")  # returned by ``register``


@dataclass(frozen=True)
class Aim(Generic[About]):
    """What to mill and map, in the scan frame of the ion beam.

    about : passed on to ``align`` and ``verify``; plans do not read it.
    reached : the plane is exposed already; ``mill`` is not drawn.
    sims_args : further arguments of the map, such as shape and dwell.
    """

    mill: Rectangle
    fov_um: float
    centre_um: tuple[float, float] = (0.0, 0.0)
    about: About = None  # type: ignore[assignment]  # an Aim[None] has none
    reached: bool = False
    sims_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Correlative(Generic[Volume, About, Registered]):
    """Runs and results of a correlative experiment so far.

    uids : tomography, se_before, milling, se_after, sims; further milling steps and their images are milling_2,
        se_after_2 and so on.
    """

    experiment_uid: str
    uids: dict[str, str] = field(default_factory=dict)
    volume: Volume | None = None
    aim: Aim[About] | None = None
    registration: Registered | None = None

    @property
    def chosen(self) -> Aim[About]:
        """The aim. ValueError before there is one."""
        if self.aim is None:
            raise ValueError("aim: nothing to mill and map was chosen yet")
        return self.aim

    @property
    def registered(self) -> Registered:
        """The registration. ValueError before there is one."""
        if self.registration is None:
            raise ValueError("registration: the SIMS map was not registered yet")
        return self.registration

    def latest(self, kind: str) -> str:
        """Return the uid of the last ``milling`` or ``se_after``."""
        return [uid for name, uid in self.uids.items() if name == kind or name.startswith(f"{kind}_")][-1]

    def md(self, md: Mapping[str, Any] | None, *parents: str) -> dict[str, Any]:
        """Return ``md`` with ``experiment_uid``, and with the uids of the runs ``parents`` as ``parent_uids``."""
        uids = [self.uids[name] for name in parents]
        return {**(md or {}), "experiment_uid": self.experiment_uid, "parent_uids": uids}


def typical_aim(settings: Settings) -> Aim[None]:
    """Return an aim at a defect of usual depth, for checks and estimates."""
    field_um = settings.scan.fov_um
    return Aim(Rectangle((field_um, field_um), settings.scan.roi_depth_um), field_um)


def pillar_image(settings: Settings, se_args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the arguments of an ion image of the whole pillar, with ``se_args`` in place of the defaults."""
    return {"fov_um": WHOLE_PILLAR * settings.specimen.diameter_um, "source": "ion", **(se_args or {})}


def _measurements(
    settings: Settings,
    tomography_args: Mapping[str, Any] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return plan and arguments of each measurement, with a typical aim because the defect is not known yet."""
    aim = typical_aim(settings)
    return {
        "tomography": (tomography, dict(tomography_args or {})),
        "se": (se_image, pillar_image(settings, se_args)),
        "coarse milling": (mill, dict(pattern=above_the_plane(aim.mill), **_coarse(settings, mill_args))),
        "milling": (mill, dict(pattern=_rest_of(aim.mill), **(mill_args or {}))),
        "sims": (sims_raster, {"fov_um": aim.fov_um, **(sims_args or {})}),
    }


def weigh_correlative(scope: Scope, **arguments: Any) -> Preflight:
    """Estimate time, dose and disk of the measurements of :func:`correlative`, for a defect of usual depth."""
    tables = {name: table for name, table in arguments.items() if name.endswith("_args")}

    def request(name: str) -> Request:
        plan, given = _measurements(scope.settings, **tables)[name]
        return request_of(plan, scope.settings, given, "mill" if plan is mill else name)

    order = ("tomography", "se", "coarse milling", "se", "milling", "se", "sims")
    return together("correlative", [weigh(scope, name, partial(request, name)) for name in order])


def correlative(
    scope: Scope,
    *,
    reconstruct: Callable[[str], Volume],
    choose: Callable[[Volume], Aim[About]],
    register: Callable[[Correlative[Volume, About, Registered]], Registered],
    align: Callable[[Aim[About], str], Aim[About]] | None = None,
    verify: Callable[[Aim[About], str], Aim[About]] | None = None,
    tomography_args: Mapping[str, Any] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative[Volume, About, Registered]]:
    """Tomography → reconstruct → choose → :func:`dig_and_map`.

    The functions run in a thread of their own, so that pause, Ctrl-C and progress go on working meanwhile:

    - ``reconstruct(tomography_uid) -> volume``, which ``choose`` is called with;
    - ``choose(volume) -> Aim``; raises ValueError when there is no defect to mill to;
    - ``align``, ``verify``, ``register`` : see :func:`dig_and_map`.

    Parameters
    ----------
    tomography_args, mill_args, sims_args : further arguments of those plans.
    se_args : further arguments of all ion images. The first shows the whole pillar unless ``fov_um`` is given, the
        others show the milled field.
    md : goes into every start document, with ``experiment_uid`` and ``parent_uids``.

    Returns uids and results. However the plan ends, both beams are blanked and the target is parked.
    """
    check_md(md)
    measurements = _measurements(scope.settings, tomography_args, se_args, mill_args, sims_args)
    for plan, arguments in measurements.values():
        REQUESTS[plan](scope.settings, **arguments).check(scope)
    result: Correlative[Volume, About, Registered] = Correlative((md or {}).get("experiment_uid", str(uuid.uuid4())))
    result.uids["tomography"] = yield from tomography(scope, **(tomography_args or {}), md=result.md(md))
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
    so_far: Correlative[Volume, About, Registered],
    *,
    register: Callable[[Correlative[Volume, About, Registered]], Registered],
    align: Callable[[Aim[About], str], Aim[About]] | None = None,
    verify: Callable[[Aim[About], str], Aim[About]] | None = None,
    se_args: Mapping[str, Any] | None = None,
    mill_args: Mapping[str, Any] | None = None,
    sims_args: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[Correlative[Volume, About, Registered]]:
    """Ion image → align → (mill → ion image → verify)* → SIMS → register, for an aim found in a tomogram.

    - ``align(aim, se_uid) -> Aim`` (optional): corrects the aim's place from an ion image, because each change of mode
      moves the scan frame;
    - ``verify(aim, se_uid) -> Aim`` (optional): corrects place and remaining depth from an image of the milled plane,
      and sets ``reached`` when nothing is left to mill; raises ValueError when the image does not show it, or when too
      much was milled.
      With ``verify`` the first milling is coarse (``settings.ion.coarse_milling_current_pa``, unless ``mill_args`` has
      a current) and ends above the plane, by the larger of ``KEEP_UM`` and ``KEEP_SHARE`` of the depth;
    - ``register(result) -> registration``, from all runs so far.

    ``so_far`` holds the uid of the tomography, the volume and the aim. The other arguments are those of
    :func:`correlative`. Returns ``so_far`` with the new runs. However the plan ends, both beams are blanked.
    """
    settings = scope.settings
    check_md(md)
    if so_far.aim is None:
        raise ValueError("so_far: needs an aim from a tomogram, got none; choose an ROI first")
    aim = so_far.aim
    image, mills = pillar_image(settings, se_args), dict(mill_args or {})

    def field() -> dict[str, Any]:
        return {"fov_um": aim.fov_um, "centre_um": aim.centre_um}

    def sims() -> dict[str, Any]:
        return {**field(), **aim.sims_args, **(sims_args or {})}

    so_far.uids["se_before"] = yield from se_image(scope, **image, md=so_far.md(md, "tomography"))
    if align is not None:
        aim = yield from in_background(align, aim, so_far.uids["se_before"])
    if verify is not None:
        aim = replace(aim, mill=above_the_plane(aim.mill))
    so_far.aim = aim
    sims_request(settings, **sims()).check(scope)  # mill nothing that cannot be mapped
    milled, seen = "milling", "se_before"
    for step in range(1, MAX_MILLING_STEPS + 1):
        before, milled, seen = seen, _numbered("milling", step), _numbered("se_after", step)
        beam = _coarse(settings, mills) if verify is not None and step == 1 else mills
        so_far.uids[milled] = yield from mill(scope, aim.mill, **beam, md=so_far.md(md, "tomography", before))
        close_up = {**image, **field(), "fov_um": CLOSE_UP * aim.fov_um}
        so_far.uids[seen] = yield from se_image(scope, **close_up, md=so_far.md(md, "tomography", milled))
        if verify is None:
            break
        so_far.aim = aim = yield from in_background(verify, aim, so_far.uids[seen])
        if aim.reached:
            break
    else:
        raise ValueError(f"milling: the plane was not reached in {MAX_MILLING_STEPS} steps; look at their images")
    so_far.uids["sims"] = yield from sims_raster(scope, **sims(), md=so_far.md(md, "tomography", milled))
    so_far.registration = yield from in_background(register, so_far)
    return so_far


def above_the_plane(box: Rectangle) -> Rectangle:
    """Return the part of a milling that ends safely above the plane; all of it when the box is shallow."""
    depth_um = box.depth_um - _kept_um(box)
    return box if depth_um <= 0 else replace(box, depth_um=depth_um)


def _rest_of(box: Rectangle) -> Rectangle:
    return replace(box, depth_um=min(box.depth_um, _kept_um(box)))


def _kept_um(box: Rectangle) -> float:
    return max(KEEP_UM, KEEP_SHARE * box.depth_um)


def _coarse(settings: Settings, mill_args: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"current_pa": settings.ion.coarse_milling_current_pa, **(mill_args or {})}


def _numbered(name: str, step: int) -> str:
    return name if step == 1 else f"{name}_{step}"
