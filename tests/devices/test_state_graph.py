"""All states of the interlocks: which are unreachable, and the way back to a safe one."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from devices.interlocks import objections, refusal
from devices.state_graph import StateGraph, page, safe, values
from xrm_sims.settings import Settings

SETTINGS = Settings()
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def graph():
    return StateGraph.of(SETTINGS)


def test_no_forbidden_state_can_be_reached_and_every_other_can(graph):
    assert graph.reachable.isdisjoint(graph.forbidden)
    assert graph.reachable | graph.forbidden == set(graph.accepted)


def test_what_is_forbidden_is_what_nobody_wants(graph):
    """The forbidden states, defined independently of the rules."""
    for state in graph.reachable:
        out = state.target_x_um > SETTINGS.target.park_x_um
        assert state.beam_blanked or state.fib_blanked
        assert state.fib_blanked or state.mode == "fib"
        assert state.beam_blanked or state.mode in ("xray", "sem")
        assert state.beam_blanked or state.mode != "xray" or state.stage_bias_v == 0
        assert not out or (state.mode == "xray" and state.stage_tilt_deg == 0)
        assert not out or state.target_z_um == 0 or state.stage_z_um <= 0
        assert state.mode != "transfer" or (safe(state, SETTINGS) and state.stage_bias_v == state.stage_tilt_deg == 0)
        # the tip stands 400 um from the axis, or less by what the stage brings the axis towards it
        from_axis_um = state.stage_x_um - state.target_x_um
        assert not out or from_axis_um >= 120


def test_blank_blank_park_is_refused_nowhere(graph):
    for state in graph.accepted:
        *_, last = graph.way_back(state)
        assert safe(last, SETTINGS)
        if state in graph.reachable:
            assert graph.reachable.issuperset(graph.way_back(state))


def test_no_reachable_state_is_a_dead_end(graph):
    """Search backwards from the parked instrument along accepted commands."""
    into = {state: [] for state in graph.reachable}
    for state in graph.reachable:
        for name, value in graph.accepted[state]:
            into[replace(state, **{name: value})].append(state)
    first = next(iter(graph.accepted))
    back, queue = {first}, deque([first])
    while queue:
        for state in into[queue.popleft()]:
            if state not in back:
                back.add(state)
                queue.append(state)
    assert back == graph.reachable


def test_rasters_and_milling_start_in_few_states(graph):
    for state in graph.reachable:
        ions_on = state.mode == "fib" and not state.fib_blanked
        biased = state.stage_bias_v >= SETTINGS.sector.min_bias_v
        assert (refusal(state, {"action": "milling pass"}, SETTINGS) is None) == ions_on
        assert (refusal(state, {"action": "raster"}, SETTINGS) is None) == (ions_on and biased)


def test_a_missing_rule_would_be_noticed(graph, monkeypatch):
    """Without the rule for changes of mode, the search reaches states that other rules forbid."""
    import devices.state_graph as module
    from devices import interlocks

    rules = tuple(rule for rule in interlocks.RULES if rule.refuses is not interlocks.mode_change_is_safe)
    monkeypatch.setattr(interlocks, "RULES", rules)
    met = module.StateGraph.of(SETTINGS).reachable & graph.forbidden
    assert met
    assert any("the target stays parked in fib mode" in sentence for s in met for sentence in objections(s, SETTINGS))


def test_every_field_of_the_state_is_in_the_copy(graph):
    assert set(values(SETTINGS)) | {"action"} == set(next(iter(graph.accepted)).__dataclass_fields__)


def test_the_page_in_the_docs_says_what_was_found(graph):
    written = (DOCS / "interlocks.md").read_text()
    assert written == page(graph), "run: python -m devices.state_graph > docs/interlocks.md"
