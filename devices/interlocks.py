"""Rules that protect the instrument, checked by every ``set`` and before every raster and pass.

A rule compares the state before and after a change and returns a sentence when it refuses the change. It is checked
only when a field it watches changes. Blanking a beam and moving the target straight back are never refused, so that
every state has a way back to a safe one. ``devices.state_graph`` tests all states that the rules allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from ophyd import Signal

from devices.clearance import Point, check_parking, gaps_um, height_over_disk_um
from devices.drivers import Value
from xrm_sims.settings import Settings


class InterlockError(ValueError):
    """A change is refused; the message names the reason and what to do."""


@dataclass(frozen=True)
class State:
    """The state that rules check. Its fields have the names of the signals; ``action`` is about to start ("raster",
    "milling pass", "deposition pass")."""

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
    specimen: str = ""
    action: str = ""

    @property
    def target_from_axis_um(self) -> Point:
        """Tip of the target relative to the rotation axis of the specimen."""
        return (
            self.target_x_um - self.stage_x_um,
            self.target_y_um - self.stage_y_um,
            self.target_z_um - self.stage_z_um,
        )


STATE_FIELDS = tuple(field.name for field in fields(State) if field.name != "action")


def parked(state: State, settings: Settings) -> bool:
    """Return True when the target is at its parking position or further back."""
    return state.target_x_um <= settings.target.park_x_um


def bias_on(state: State, settings: Settings) -> bool:
    return state.stage_bias_v > settings.stage.bias_off_below_v


def target_clear_of_specimen(before: State, after: State, settings: Settings) -> str | None:
    """Keep the clearance between the target's straight path and the cylinders that the rotating specimen sweeps."""
    start, end = before.target_from_axis_um, after.target_from_axis_um
    clearance_um = settings.target.clearance_um
    along, at_start, at_end = (gaps_um(*path, settings) for path in ((start, end), (start, start), (end, end)))
    for (name, gap_um), (_, before_um), (_, after_um) in zip(along, at_start, at_end, strict=True):
        retreats = gap_um >= before_um and after_um > before_um
        if gap_um < clearance_um and not retreats:
            return (
                f"the target would come within {gap_um:.0f} um of the {name}, {clearance_um:g} um are needed; "
                "move the target back along x first"
            )
    return None


def target_clear_of_disk(before: State, after: State, settings: Settings) -> str | None:
    """Keep the target above the carbon disk."""
    height_um, needed_um = height_over_disk_um(after.target_from_axis_um, settings), settings.target.disk_clearance_um
    if height_um >= needed_um or height_um > height_over_disk_um(before.target_from_axis_um, settings):
        return None
    return f"the target would come within {height_um:.0f} um of the disk, {needed_um:g} um are needed; raise the target"


def rotation_clear(before: State, after: State, settings: Settings) -> str | None:
    """Refuse rotation while the target is inside the clearance."""
    at, clearance_um = after.target_from_axis_um, settings.target.clearance_um
    for name, gap_um in gaps_um(at, at, settings):
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
    if after.stage_tilt_deg != 0:
        return (
            f"the stage is tilted by {after.stage_tilt_deg:g} deg; set stage.tilt_deg to 0 before the target comes in"
        )
    return None


def target_only_in_xray_mode(before: State, after: State, settings: Settings) -> str | None:
    if after.mode == "xray" or parked(after, settings):
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


def exchange_in_transfer_mode(before: State, after: State, settings: Settings) -> str | None:
    if before.specimen == after.specimen or after.mode == "transfer":
        return None
    return f"the specimen is exchanged in transfer mode, the instrument is in {after.mode} mode; change the mode first"


def ions_only_in_fib_mode(before: State, after: State, settings: Settings) -> str | None:
    if after.fib_blanked or after.mode == "fib":
        return None
    return f"the ion beam stays blanked in {after.mode} mode; change to fib mode first"


def electrons_only_in_their_modes(before: State, after: State, settings: Settings) -> str | None:
    if after.beam_blanked or after.mode in ("xray", "sem"):
        return None
    return f"the electron beam stays blanked in {after.mode} mode; change to xray or sem mode first"


def no_bias_under_x_rays(before: State, after: State, settings: Settings) -> str | None:
    if after.mode != "xray" or after.beam_blanked or not bias_on(after, settings):
        return None
    return f"the stage bias is {after.stage_bias_v:g} V; X-ray imaging needs it off, set stage.bias_v to 0 V"


def at_rest_for_transfer(before: State, after: State, settings: Settings) -> str | None:
    """Require a grounded and level stage for the exchange rod."""
    if after.mode != "transfer":
        return None
    if bias_on(after, settings):
        return f"the stage bias is {after.stage_bias_v:g} V; set stage.bias_v to 0 V to exchange the specimen"
    if after.stage_tilt_deg != 0:
        return f"the stage is tilted by {after.stage_tilt_deg:g} deg; set stage.tilt_deg to 0 to exchange the specimen"
    return None


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
    Rule((*_TARGET, *_STAGE), target_clear_of_specimen),
    Rule((*_TARGET, *_STAGE), target_clear_of_disk),
    Rule(("rotation_angle_deg",), rotation_clear),
    Rule(("target_x_um", "stage_tilt_deg"), tilt_with_target_out),
    Rule(("target_x_um",), target_only_in_xray_mode),
    Rule(("target_material",), material_only_when_parked),
    Rule(("mode",), mode_change_is_safe),
    Rule(("specimen",), exchange_in_transfer_mode),
    Rule(("mode", "fib_blanked"), ions_only_in_fib_mode),
    Rule(("mode", "beam_blanked"), electrons_only_in_their_modes),
    Rule(("mode", "beam_blanked", "stage_bias_v"), no_bias_under_x_rays),
    Rule(("mode", "stage_bias_v", "stage_tilt_deg"), at_rest_for_transfer),
    Rule((), ions_on_for_raster, actions=("raster", "milling pass", "deposition pass")),
    Rule((), bias_for_sims, actions=("raster",)),
)


def blanks(changes: dict[str, Value]) -> bool:
    """Return True for a command to blank a beam, which is never refused and not cancelled by a stop."""
    return changes in ({"beam_blanked": True}, {"fib_blanked": True})


def changed(state: State, changes: Mapping[str, Value]) -> State:
    return replace(state, **changes)  # type: ignore[arg-type]


def never_refused(before: State, changes: dict[str, Value]) -> bool:
    """Return True for the three commands that lead from any state to blanked beams and a parked target."""
    if blanks(changes):
        return True
    return list(changes) == ["target_x_um"] and float(changes["target_x_um"]) <= before.target_x_um


def refusal(before: State, changes: dict[str, Value], settings: Settings) -> str | None:
    """Return the sentence of the first rule that refuses a change, or None."""
    if never_refused(before, changes):
        return None
    after = changed(before, changes)
    for rule in RULES:
        if after.action in rule.actions or any(name in changes for name in rule.watches):
            sentence = rule.refuses(before, after, settings)
            if sentence:
                return sentence
    return None


def objections(state: State, settings: Settings) -> list[str]:
    """Return the sentences of all rules that forbid a state."""
    sentences = (rule.refuses(state, state, settings) for rule in RULES if rule.watches)
    return [sentence for sentence in sentences if sentence]


class Interlocks:
    """The rules for the real instrument. ``watch`` assigns signals to the fields of the state."""

    def __init__(self, settings: Settings) -> None:
        check_parking(settings)
        self.settings = settings
        self._signals: dict[str, Signal] = {}
        self._fields: dict[Signal, str] = {}

    def watch(self, signals: dict[str, Signal]) -> None:
        self._signals = signals
        self._fields = {signal: name for name, signal in signals.items()}

    def state(self) -> State:
        return State(**{name: signal.get() for name, signal in self._signals.items()})

    def check_change(self, signal: Signal, value: Value) -> None:
        """InterlockError when a rule refuses setting ``signal`` to ``value``."""
        name = self._fields.get(signal)
        if name is not None:
            self._check(f"{signal.name} = {value}", {name: value})

    def blanks(self, signal: Signal, value: Value) -> bool:
        """Return True when setting ``signal`` to ``value`` blanks a beam."""
        return blanks({self._fields.get(signal, ""): value})

    def check_action(self, action: str) -> None:
        """InterlockError when ``action`` ("raster", "milling pass", "deposition pass") must not start now."""
        self._check(action, {"action": action})

    def _check(self, what: str, changes: dict[str, Value]) -> None:
        sentence = refusal(self.state(), changes, self.settings)
        if sentence:
            raise InterlockError(f"{what} refused: {sentence}")
