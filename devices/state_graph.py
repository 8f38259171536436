"""All that the interlocks allow, walked through: every state of a coarse copy of the instrument, every command in it.

The copy knows a few values of each field, among them some that must never come together. ``python -m
devices.state_graph`` prints ``docs/interlocks.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from devices.drivers import Value
from devices.interlocks import RULES, State, objections, parked, refusal
from xrm_sims.settings import Settings

Command = tuple[str, Value]


def values(settings: Settings) -> dict[str, tuple[Value, ...]]:
    """What each field can be in the copy; the first value is where the walk starts."""
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
        "rotation_angle_deg": (0.0,),  # no rule asks how far it turns, only whether
        "specimen": ("one", "another"),
    }


def safe(state: State, settings: Settings) -> bool:
    """Both beams blanked and the target parked."""
    return state.beam_blanked and state.fib_blanked and parked(state, settings)


@dataclass(frozen=True)
class StateGraph:
    """``accepted`` maps every state of the copy, allowed or not, to the commands that are not refused in it."""

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
            for following in (replace(state, **{name: value}) for name, value in accepted[state]):  # type: ignore[arg-type]
                if following not in reachable:
                    reachable.add(following)
                    queue.append(following)
        forbidden = frozenset(state for state in states if objections(state, settings))
        return cls(settings, accepted, frozenset(reachable), forbidden)

    def way_back(self, state: State) -> Iterator[State]:
        """Blank, blank, park: the states on the way, as far as nothing is refused."""
        for name, value in (
            ("beam_blanked", True),
            ("fib_blanked", True),
            ("target_x_um", self.settings.target.park_x_um),
        ):
            if (name, value) not in self.accepted[state]:
                return
            state = replace(state, **{name: value})  # type: ignore[arg-type]
            yield state

    def situations(self) -> dict[str, set[str]]:
        """The graph as people see it: situation -> situations that one command leads to, reachable ones only."""
        seen: dict[str, set[str]] = {}
        for state in self.accepted:
            if state not in self.reachable:
                continue
            here = situation(state, self.settings)
            followers = {replace(state, **{name: value}) for name, value in self.accepted[state]}  # type: ignore[arg-type]
            seen.setdefault(here, set()).update(situation(after, self.settings) for after in followers)
        return {here: there - {here} for here, there in seen.items()}


def situation(state: State, settings: Settings) -> str:
    """Mode, beams and target in words."""
    beams = {(True, True): "", (False, True): "electrons on", (True, False): "ions on", (False, False): "both beams on"}
    words = [state.mode, "" if parked(state, settings) else "target in", beams[state.beam_blanked, state.fib_blanked]]
    return ", ".join(word for word in words if word)


PAGE = """\
# Interlocks

What would break the instrument is refused by the table `devices.interlocks.RULES`. A rule is asked when a field it
watches is about to change, in `set()` and once more when the move's turn comes, or when an action is about to start.
Plans, `mv`, `.set()` and `.put()` all pass through it. Blanking a beam and drawing the target straight back are never
refused, and no stop takes back a command to blank.

| rule | watches | actions |
|---|---|---|
{rules}

A state is forbidden when a rule objects to staying in it. `devices.state_graph` takes a few values of each field of
`devices.interlocks.State`, asks all {commands} commands in each of the {states} states they make, and finds:

- the {reachable} states that can be reached from the parked instrument are those that are not forbidden; none of the
  {forbidden} forbidden ones can be reached;
- from every state, the forbidden ones included, *blank, blank, park* leads to both beams blanked and the target parked
  without a refusal;
- from every reachable state there is a way back to where the walk began, so none is a dead end.

What can be reached, by mode, target and beams; an arrow is one command:

```mermaid
stateDiagram-v2
{diagram}
```

Distances are those of `devices.clearance`: the target is a bar that reaches back to its manipulator, and what turns are
cylinders with their run-out. One driver call moves one axis and one thread makes the calls, so a move of several axes
is a staircase in the order it was asked for, and each of its legs is checked where it starts. The tilting disk needs no
rule: it tilts only with the target parked, and a parking place within its reach is refused when the instrument is made.

This page is the output of `python -m devices.state_graph`; a test compares the two.
"""


def page(graph: StateGraph) -> str:
    """``docs/interlocks.md``."""
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
