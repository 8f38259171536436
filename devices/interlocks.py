"""What would break the instrument, as a table of rules that every ``set`` and every start of a raster passes through.

A rule looks at the instrument before and after a change and answers with a sentence, or with nothing. It is asked
only when a field it watches changes, and blanking a beam is never refused, so that a bad state always has a way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.drivers import Value
from xrm_sims.settings import Settings


class InterlockError(ValueError):
    """The change is refused; the sentence says what is in the way and what to do."""


@dataclass(frozen=True)
class State:
    """What the rules look at; ``action`` is what is about to start ("raster", "mill")."""

    mode: str
    beam_blanked: bool
    fib_blanked: bool
    target_x_um: float
    target_y_um: float
    target_z_um: float
    target_material: str
    stage_x_um: float
    stage_y_um: float
    stage_z_um: float
    stage_tilt_deg: float
    stage_bias_v: float
    rotation_angle_deg: float
    action: str = ""

    @property
    def target_from_pillar_um(self) -> NDArray[np.float64]:
        """Tip of the target as seen from the rotation axis of the specimen."""
        return np.array(
            [
                self.target_x_um - self.stage_x_um,
                self.target_y_um - self.stage_y_um,
                self.target_z_um - self.stage_z_um,
            ]
        )


def parked(state: State, settings: Settings) -> bool:
    """The target is at least as far back as its parking position."""
    return state.target_x_um <= settings.target.park_x_um


def bias_on(state: State, settings: Settings) -> bool:
    return state.stage_bias_v > settings.stage.bias_off_below_v


def distance_to_axis_um(start: NDArray[np.float64], end: NDArray[np.float64], ceiling_um: float) -> float:
    """Smallest horizontal distance to the axis on the part of a straight path that lies below the ceiling.

    Infinite when the whole path runs above it.
    """
    step = end - start
    low, high = 0.0, 1.0
    if step[2] == 0:
        if start[2] > ceiling_um:
            return float("inf")
    else:
        crossing = (ceiling_um - start[2]) / step[2]
        low, high = (max(low, crossing), high) if step[2] < 0 else (low, min(high, crossing))
        if low > high:
            return float("inf")
    horizontal = float(step[:2] @ step[:2])
    nearest = 0.0 if horizontal == 0 else -float(start[:2] @ step[:2]) / horizontal
    return float(np.hypot(*(start + min(max(nearest, low), high) * step)[:2]))


def swept_cylinders(settings: Settings) -> list[tuple[str, float, float]]:
    """(name, radius_um, top_um) of what turns with the specimen, run-out included."""
    specimen, runout_um = settings.specimen, settings.motion.runout_nm * 1e-3
    foot_um = specimen.top_um - specimen.height_um
    return [
        ("pillar", 0.5 * specimen.diameter_um + runout_um, specimen.top_um),
        ("pedestal", 0.5 * specimen.pedestal_um + runout_um, foot_um),
    ]


def target_clear_of_pillar(before: State, after: State, settings: Settings) -> str | None:
    """The target's straight path keeps its clearance from the cylinders that the turning specimen sweeps."""
    start, end = before.target_from_pillar_um, after.target_from_pillar_um
    clearance_um = settings.target.clearance_um
    for name, radius_um, top_um in swept_cylinders(settings):
        ceiling_um = top_um + clearance_um
        closest_um = distance_to_axis_um(start, end, ceiling_um)
        at_start_um, at_end_um = (distance_to_axis_um(at, at, ceiling_um) for at in (start, end))
        retreats = closest_um >= at_start_um and at_end_um > at_start_um
        if closest_um - radius_um < clearance_um and not retreats:
            return (
                f"the target would come within {closest_um - radius_um:.0f} um of the {name}, {clearance_um:g} um "
                "are needed; move the target back along x first"
            )
    return None


def target_clear_of_disk(before: State, after: State, settings: Settings) -> str | None:
    """The tip stays above the carbon disk."""
    surface_um = settings.specimen.top_um - settings.specimen.disk_below_top_um
    height_um = after.target_from_pillar_um[2] - surface_um
    needed_um = settings.target.disk_clearance_um
    if height_um >= needed_um or height_um > before.target_from_pillar_um[2] - surface_um:
        return None
    return f"the target would come within {height_um:.0f} um of the disk, {needed_um:g} um are needed; raise the target"


def rotation_clear(before: State, after: State, settings: Settings) -> str | None:
    """Nothing turns while the target stands inside the clearance."""
    at, clearance_um = after.target_from_pillar_um, settings.target.clearance_um
    for name, radius_um, top_um in swept_cylinders(settings):
        gap_um = distance_to_axis_um(at, at, top_um + clearance_um) - radius_um
        if gap_um < clearance_um:
            return (
                f"the target is {gap_um:.0f} um from the {name}, {clearance_um:g} um are needed to turn it; "
                "move the target back along x first"
            )
    return None


def tilt_with_target_out(before: State, after: State, settings: Settings) -> str | None:
    if parked(after, settings):
        return None
    if after.stage_tilt_deg != before.stage_tilt_deg:
        return "the stage tilts only with the target parked; park the target first"
    if after.stage_tilt_deg != 0 and after.target_x_um > before.target_x_um:
        return (
            f"the stage is tilted by {after.stage_tilt_deg:g} deg; set stage.tilt_deg to 0 before the target comes in"
        )
    return None


def target_only_in_xray_mode(before: State, after: State, settings: Settings) -> str | None:
    if after.mode == "xray" or parked(after, settings) or after.target_x_um < before.target_x_um:
        return None
    return f"the target stays parked in {after.mode} mode; change to xray mode first"


def material_only_when_parked(before: State, after: State, settings: Settings) -> str | None:
    if before.target_material == after.target_material or (parked(after, settings) and after.beam_blanked):
        return None
    return "the target material is exchanged with the target parked and the electron beam blanked; park and blank first"


def mode_change_is_safe(before: State, after: State, settings: Settings) -> str | None:
    if before.mode == after.mode:
        return None
    if not (after.beam_blanked and after.fib_blanked):
        which = "ion beam" if after.beam_blanked else "electron beam"
        return f"the {which} is on; blank it before changing from {before.mode} to {after.mode} mode"
    if not parked(after, settings):
        return f"the target is not parked; park it before changing to {after.mode} mode"
    return None


def ions_only_in_fib_mode(before: State, after: State, settings: Settings) -> str | None:
    if after.fib_blanked or after.mode == "fib":
        return None
    return f"the ion beam stays blanked in {after.mode} mode; change to fib mode first"


def electrons_not_in_fib_mode(before: State, after: State, settings: Settings) -> str | None:
    if after.beam_blanked or after.mode != "fib":
        return None
    return "the electron beam stays blanked in fib mode; change to xray or sem mode first"


def no_bias_under_x_rays(before: State, after: State, settings: Settings) -> str | None:
    if after.mode != "xray" or after.beam_blanked or not bias_on(after, settings):
        return None
    return f"the stage bias is {after.stage_bias_v:g} V; X-ray imaging needs it off, set stage.bias_v to 0 V"


def bias_for_sims(before: State, after: State, settings: Settings) -> str | None:
    least_v = settings.sector.min_bias_v
    if after.stage_bias_v >= least_v:
        return None
    return (
        f"the stage bias is {after.stage_bias_v:g} V, SIMS needs at least {least_v:g} V; "
        f"set stage.bias_v to {settings.sector.bias_v:g} V"
    )


def ions_on_for_raster(before: State, after: State, settings: Settings) -> str | None:
    if after.mode == "fib" and not after.fib_blanked:
        return None
    if after.mode != "fib":
        return f"a {after.action} needs fib mode, the instrument is in {after.mode} mode; change the mode first"
    return f"a {after.action} needs the ion beam, which is blanked; unblank fib first"


@dataclass(frozen=True)
class Rule:
    watches: tuple[str, ...]
    refuses: Callable[[State, State, Settings], str | None]
    actions: tuple[str, ...] = ()


_TARGET = ("target_x_um", "target_y_um", "target_z_um")
_STAGE = ("stage_x_um", "stage_y_um", "stage_z_um")

RULES = (
    Rule((*_TARGET, *_STAGE), target_clear_of_pillar),
    Rule((*_TARGET, *_STAGE), target_clear_of_disk),
    Rule(("rotation_angle_deg",), rotation_clear),
    Rule(("target_x_um", "stage_tilt_deg"), tilt_with_target_out),
    Rule(("target_x_um",), target_only_in_xray_mode),
    Rule(("target_material",), material_only_when_parked),
    Rule(("mode",), mode_change_is_safe),
    Rule(("mode", "fib_blanked"), ions_only_in_fib_mode),
    Rule(("mode", "beam_blanked"), electrons_not_in_fib_mode),
    Rule(("mode", "beam_blanked", "stage_bias_v"), no_bias_under_x_rays),
    Rule((), ions_on_for_raster, actions=("raster", "milling pass")),
    Rule((), bias_for_sims, actions=("raster",)),
)


def refusal(before: State, changes: dict[str, Value], settings: Settings) -> str | None:
    """The first rule's sentence against a change, or None when all agree."""
    if changes in ({"beam_blanked": True}, {"fib_blanked": True}):
        return None
    after = replace(before, **changes)  # type: ignore[arg-type]
    for rule in RULES:
        if after.action in rule.actions or any(name in changes for name in rule.watches):
            sentence = rule.refuses(before, after, settings)
            if sentence:
                return sentence
    return None


class Interlocks:
    """The rules over the live instrument. ``watch`` says which signal is which field of the state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._signals: dict[str, Any] = {}
        self._fields: dict[Any, str] = {}

    def watch(self, signals: dict[str, Any]) -> None:
        self._signals = signals
        self._fields = {signal: name for name, signal in signals.items()}

    def state(self) -> State:
        return State(**{name: signal.get() for name, signal in self._signals.items()})

    def check_change(self, signal: Any, value: Value) -> None:
        """InterlockError when setting ``signal`` to ``value`` would break something."""
        name = self._fields.get(signal)
        if name is not None:
            self._check(f"{signal.name} = {value}", {name: value})

    def check_action(self, action: str) -> None:
        """InterlockError when ``action`` ("raster", "milling pass") must not start now."""
        self._check(action, {"action": action})

    def _check(self, what: str, changes: dict[str, Value]) -> None:
        sentence = refusal(self.state(), changes, self.settings)
        if sentence:
            raise InterlockError(f"{what} refused: {sentence}")
