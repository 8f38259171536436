import threading
from dataclasses import replace

import pytest

from plans import Aim, Correlative, correlative, dig_and_map, map_elements
from plans.correlative import KEEP_UM, MAX_MILLING_STEPS
from xrm_sims.patterns import Rectangle

ARGUMENTS = {
    "tomography_args": {
        "num": 2,
        "step_deg": 180.0,
        "binning": 8,
        "num_dark": 1,
        "num_flat": 1,
        "reference_every": 0,
        "flat_every": 0,
    },
    "se_args": {"shape": (16, 16)},
    "sims_args": {"shape": (8, 8)},
}
AIM = Aim(Rectangle((6.0, 6.0), 0.1, passes=2), fov_um=5.0, centre_um=(1.0, -1.0))


def functions(calls):
    def reconstruct(uid):
        calls.append(("reconstruct", threading.current_thread().name))
        return {"uid": uid}

    def choose(volume):
        calls.append(("choose", volume["uid"]))
        return AIM

    def align(aim, se_uid):
        calls.append(("align", se_uid))
        return aim

    def register(result):
        calls.append(("register", set(result.uids)))
        return "registered"

    return {"reconstruct": reconstruct, "choose": choose, "align": align, "register": register}


def test_the_whole_chain(scope, RE, run, is_safe):
    calls = []
    result = RE(correlative(scope, **functions(calls), **ARGUMENTS, md={"sample_name": "pillar 7"})).plan_result
    starts = {start["uid"]: start for start in run.all("start")}
    assert list(result.uids) == ["tomography", "se_before", "milling", "se_after", "sims"]
    assert [starts[uid]["scan_type"] for uid in result.uids.values()] == [
        "tomography",
        "se_image",
        "milling",
        "se_image",
        "sims_raster",
    ]
    assert {start["experiment_uid"] for start in starts.values()} == {result.experiment_uid}
    assert {start["sample_name"] for start in starts.values()} == {"pillar 7"}
    assert starts[result.uids["tomography"]]["parent_uids"] == []
    assert starts[result.uids["sims"]]["parent_uids"] == [result.uids["tomography"], result.uids["milling"]]
    assert starts[result.uids["sims"]]["centre_um"] == [1.0, -1.0]
    assert [name for name, _ in calls] == ["reconstruct", "choose", "align", "register"]
    assert calls[0][1] != threading.current_thread().name
    assert calls[1][1] == result.uids["tomography"]
    assert calls[2][1] == result.uids["se_before"]
    assert calls[3][1] == set(result.uids)
    assert result.registration == "registered"
    assert is_safe()


def test_a_pause_during_a_computation_does_not_compute_twice(scope, RE, run, interrupt):
    calls = []
    plan = correlative(scope, **functions(calls), **ARGUMENTS)
    interrupt(plan, lambda msg: msg.command == "wait_for", nth=1)
    RE.resume()
    assert [name for name, _ in calls] == ["reconstruct", "choose", "align", "register"]
    assert len(run.all("stop")) == 5


def test_nothing_worth_digging_for_ends_it_with_nothing_milled(scope, RE, run, twin, is_safe):
    def nothing(volume):
        raise ValueError("choose: no pore within 3 um of the top")

    with pytest.raises(ValueError, match="no pore"):
        RE(correlative(scope, **{**functions([]), "choose": nothing}, **ARGUMENTS))
    assert [start["scan_type"] for start in run.all("start")] == ["tomography"]
    assert twin.fib.get("dose_nc") == 0.0
    assert is_safe()


@pytest.mark.parametrize(
    "changes",
    [
        {"tomography_args": {"exposure_s": -1.0}},
        {"sims_args": {"bias_v": 0.0}},
        {"sims_args": {"fov_um": 999.0}},
        {"se_args": {"fov_um": -1.0}},
        {"mill_args": {"current_pa": -1.0}},
        {"md": {"channels": []}},
    ],
)
def test_bad_arguments_of_any_step_are_refused_before_the_first(scope, RE, run, state, changes):
    before = state()
    with pytest.raises(ValueError, match=":"):
        RE(correlative(scope, **functions([]), **{**ARGUMENTS, **changes}))
    assert state() == before
    assert run.documents == []


def test_an_aim_that_cannot_be_mapped_is_not_dug(scope, RE, run, twin):
    far = Aim(Rectangle((6.0, 6.0), 0.1), fov_um=5.0, centre_um=(150.0, 0.0))
    with pytest.raises(ValueError, match="scan field"):
        RE(correlative(scope, **{**functions([]), "choose": lambda volume: far, "align": None}, **ARGUMENTS))
    assert "milling" not in [start["scan_type"] for start in run.all("start")]


DEEP = Aim(Rectangle((6.0, 6.0), 1.0, passes=2), fov_um=5.0)
SMALL = {name: ARGUMENTS[name] for name in ("se_args", "sims_args")}


def dig(scope, verify, register=lambda result: "registered"):
    so_far = Correlative("experiment", {"tomography": "a tomogram"}, aim=DEEP)
    return so_far, dig_and_map(scope, so_far, register=register, verify=verify, **SMALL)


def test_the_plane_is_looked_at_before_the_rest_is_milled(scope, RE, run, is_safe):
    heard = []

    def verify(aim, se_uid):
        heard.append((aim.mill.depth_um, se_uid))
        rest = replace(aim.mill, depth_um=0.3)
        wanted = {"shape": (20, 20), "dwell_ms": 0.25}
        return replace(aim, mill=rest, centre_um=(0.5, 0.25), reached=len(heard) == 2, sims_args=wanted)

    _, plan = dig(scope, verify)
    result = RE(plan).plan_result
    starts = {start["uid"]: start for start in run.all("start")}
    assert list(result.uids)[1:] == ["se_before", "milling", "se_after", "milling_2", "se_after_2", "sims"]
    assert heard == [(1.0 - KEEP_UM, result.uids["se_after"]), (0.3, result.uids["se_after_2"])]
    assert result.latest("milling") == result.uids["milling_2"]
    assert result.latest("se_after") == result.uids["se_after_2"]
    ion = scope.settings.ion
    currents = [starts[result.uids[name]]["current_pa"] for name in ("milling", "milling_2")]
    assert currents == [ion.coarse_milling_current_pa, ion.milling_current_pa]
    assert starts[result.uids["sims"]]["centre_um"] == [0.5, 0.25]
    assert starts[result.uids["sims"]]["dwell_ms"] == 0.25  # as the aim wants it; shape as the caller does
    assert starts[result.uids["sims"]]["shape"] == list(SMALL["sims_args"]["shape"])
    assert starts[result.uids["sims"]]["parent_uids"] == ["a tomogram", result.uids["milling_2"]]
    assert {start["experiment_uid"] for start in starts.values()} == {"experiment"}
    assert is_safe()


def test_a_plane_that_is_uncertain_is_neither_milled_further_nor_mapped(scope, RE, run, is_safe):
    def verify(aim, se_uid):
        raise ValueError("plane: its height is known to 0.3 um")

    so_far, plan = dig(scope, verify)
    with pytest.raises(ValueError, match="its height is known"):
        RE(plan)
    assert [start["scan_type"] for start in run.all("start")] == ["se_image", "milling", "se_image"]
    assert list(so_far.uids) == ["tomography", "se_before", "milling", "se_after"]
    assert is_safe()


def test_a_plane_that_is_never_reached_ends_it(scope, RE, run, is_safe):
    _, plan = dig(scope, lambda aim, se_uid: replace(aim, mill=replace(aim.mill, depth_um=0.02)))
    with pytest.raises(ValueError, match=f"not reached in {MAX_MILLING_STEPS} steps"):
        RE(plan)
    kinds = [start["scan_type"] for start in run.all("start")]
    assert kinds.count("milling") == MAX_MILLING_STEPS
    assert "sims_raster" not in kinds
    assert is_safe()


def test_without_an_aim_nothing_is_begun(scope, RE, run):
    with pytest.raises(ValueError, match="so_far: needs an aim"):
        RE(dig_and_map(scope, Correlative("experiment"), register=print))
    assert run.documents == []


def exposed():
    return Correlative("experiment", {"tomography": "a tomogram", "sims": "a map"}, aim=AIM)


def test_elements_are_mapped_where_the_electron_beam_has_the_field(scope, RE, run, twin, is_safe):
    seen = []

    def align(aim, se_uid):
        seen.append(se_uid)
        return replace(aim, centre_um=(2.0, -3.0))

    before_nc = twin.fib.get("dose_nc")
    plan = map_elements(scope, exposed(), align=align, elements=("Ni", "Co", "C"), eds_args={"shape": (16, 16)})
    result = RE(plan).plan_result
    starts = run.all("start")
    assert [start["scan_type"] for start in starts] == ["se_image", "se_image", "eds_map"]
    assert list(result.uids)[2:] == ["sem_before", "sem", "eds"]
    whole, field, mapped = starts
    assert seen == [whole["uid"]]
    assert whole["source"] == field["source"] == "electron"
    assert whole["fov_um"] > scope.settings.specimen.diameter_um
    assert field["centre_um"] == mapped["centre_um"] == [2.0, -3.0]
    assert field["fov_um"] == mapped["fov_um"] > AIM.fov_um
    assert mapped["elements"] == ["Ni", "Co", "C"]
    assert mapped["parent_uids"] == ["a tomogram", field["uid"]]
    assert {start["experiment_uid"] for start in starts} == {"experiment"}
    assert twin.fib.get("dose_nc") == before_nc
    assert is_safe()


@pytest.mark.parametrize(
    ("so_far", "arguments", "told"),
    [
        (Correlative("experiment"), {}, "so_far: needs an aim and a SIMS map"),
        (exposed(), {"elements": ("Xx",)}, "'Xx' is not an element"),
        (exposed(), {"elements": ("Li",)}, "Li"),
        (exposed(), {"eds_args": {"dwell_ms": -1.0}}, "dwell"),
    ],
)
def test_elements_that_cannot_be_mapped_are_refused_before_anything_moves(
    scope, RE, run, state, so_far, arguments, told
):
    before = state()
    with pytest.raises(ValueError, match=told):
        RE(map_elements(scope, so_far, align=lambda aim, uid: aim, **arguments))
    assert state() == before
    assert run.documents == []
