"""State graph of the interlocks: all states of a coarse model of the instrument, and all commands in each.

The model has a few values for each field, among them some that must never be combined. ``python -m
devices.state_graph`` prints ``docs/interlocks.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from devices.drivers import Value
from devices.interlocks import RULES, State, changed, objections, parked, refusal
from xrm_sims.settings import Settings

Command = tuple[str, Value]


def values(settings: Settings) -> dict[str, tuple[Value, ...]]:
    """Return the values of each field in the model; the first ones are the initial state."""
    target, stage, specimen = settings.target, settings.stage, settings.specimen
    working_um = -1e3 * settings.xray.source_object_mm
    too_close_um = -0.5 * (target.clearance_um + specimen.diameter_um)
    on_the_disk_um = specimen.top_um - specimen.disk_below_top_um + 0.5 * target.tip_um
    return {
        "mode": ("xray", "sem", "fib", "transfer"),
        "beam_blanked": (True, False),
        "fib_blanked": (True, False),
        "target_x_um": (target.park_x_um, working_um, too_close_um),
        "target_y_um": (0.0,),
        "target_z_um": (0.0, on_the_disk_um),
        "target_material": target.materials[:2],
        "stage_x_um": (0.0, working_um - too_close_um),
        "stage_y_um": (0.0,),
        "stage_z_um": (0.0, stage.z_um[1]),
        "stage_tilt_deg": (0.0, 10.0),
        "stage_bias_v": (0.0, settings.sector.bias_v),
        "rotation_angle_deg": (0.0,),  # no rule depends on the angle
        "specimen": ("one", "another"),
    }


def safe(state: State, settings: Settings) -> bool:
    """Return True when both beams are blanked and the target is parked."""
    return state.beam_blanked and state.fib_blanked and parked(state, settings)


@dataclass(frozen=True)
class StateGraph:
    """``accepted`` maps every state of the model, allowed or not, to the commands that are not refused in it."""

    settings: Settings
    accepted: dict[State, tuple[Command, ...]]
    reachable: frozenset[State]
    forbidden: frozenset[State]

    @classmethod
    def of(cls, settings: Settings) -> StateGraph:
        names, spans = zip(*values(settings).items(), strict=True)
        commands = [(name, value) for name, span in values(settings).items() for value in span]
        states = [State(**dict(zip(names, combination, strict=True))) for combination in product(*spans)]
        accepted = {
            state: tuple((name, value) for name, value in commands if refusal(state, {name: value}, settings) is None)
            for state in states
        }
        reachable, queue = {states[0]}, deque(states[:1])
        while queue:
            state = queue.popleft()
            for following in (changed(state, {name: value}) for name, value in accepted[state]):
                if following not in reachable:
                    reachable.add(following)
                    queue.append(following)
        forbidden = frozenset(state for state in states if objections(state, settings))
        return cls(settings, accepted, frozenset(reachable), forbidden)

    def way_back(self, state: State) -> Iterator[State]:
        """Yield the states after blanking both beams and parking the target, up to the first refusal."""
        park_um = self.settings.target.park_x_um
        for name, value in (("beam_blanked", True), ("fib_blanked", True), ("target_x_um", park_um)):
            if (name, value) not in self.accepted[state]:
                return
            state = changed(state, {name: value})
            yield state

    def situations(self) -> dict[str, set[str]]:
        """Return a summary of the reachable states: situation -> situations that one command leads to."""
        seen: dict[str, set[str]] = {}
        for state in self.accepted:
            if state not in self.reachable:
                continue
            here = situation(state, self.settings)
            followers = {changed(state, {name: value}) for name, value in self.accepted[state]}
            seen.setdefault(here, set()).update(situation(after, self.settings) for after in followers)
        return {here: there - {here} for here, there in seen.items()}


def situation(state: State, settings: Settings) -> str:
    """Return mode, beams and target in words."""
    beams = {(True, True): "", (False, True): "electrons on", (True, False): "ions on", (False, False): "both beams on"}
    words = [state.mode, "" if parked(state, settings) else "target in", beams[state.beam_blanked, state.fib_blanked]]
    return ", ".join(word for word in words if word)


PAGE = """\
# Interlocks

The table `devices.interlocks.RULES` refuses commands that would damage the instrument. A rule is checked when a field
it watches is about to change, in `set()` and again right before the move, or when an action is about to start. This
holds for plans, `mv`, `.set()` and `.put()`. Blanking a beam and moving the target straight back are never refused, and
a stop does not cancel a command to blank.

| rule | watches | actions |
|---|---|---|
{rules}

A state is forbidden when a rule refuses it. `devices.state_graph` takes a few values of each field of
`devices.interlocks.State`, tries all {commands} commands in each of the {states} combinations, and finds:

- the {reachable} states that are reachable from the parked instrument are exactly those that are not forbidden; none of
  the {forbidden} forbidden states is reachable;
- from every state, also a forbidden one, *blank, blank, park* is never refused and leads to both beams blanked and the
  target parked;
- from every reachable state there is a way back to the initial state, so there is no dead end.

Reachable states by mode, target and beams; each arrow is one command:

```mermaid
stateDiagram-v2
{diagram}
```

Distances come from `devices.clearance`: the target is a bar that extends back to its manipulator, and the rotating
parts are cylinders with their run-out. One driver call moves one axis and one thread makes all calls, so a move of
several axes is done axis by axis in the given order, and each of these moves is checked when it starts. The tilting
disk needs no rule: it tilts only with the target parked, and a parking position within its reach is refused at
start-up.

This page is the output of `python -m devices.state_graph`; a test compares the two.
"""


def page(graph: StateGraph) -> str:
    """Return the text of ``docs/interlocks.md``."""
    situations = graph.situations()
    number = {here: f"s{k}" for k, here in enumerate(situations)}
    boxes = [f'    state "{here}" as {number[here]}' for here in situations]
    arrows = [
        f"    {number[here]} --> {number[there]}" for here, after in situations.items() for there in sorted(after)
    ]
    rules = [
        f"| {rule.refuses.__name__.replace('_', ' ')} | {', '.join(rule.watches)} | {', '.join(rule.actions)} |"
        for rule in RULES
    ]
    return PAGE.format(
        rules="\n".join(rules),
        commands=sum(len(span) for span in values(graph.settings).values()),
        states=len(graph.accepted),
        reachable=len(graph.reachable),
        forbidden=len(graph.forbidden),
        diagram="\n".join(boxes + arrows),
    )


if __name__ == "__main__":
    print(page(StateGraph.of(Settings())), end="")
