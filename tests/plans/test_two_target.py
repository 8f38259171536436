import pytest

from plans import preflight, tomography, two_target_tomography

SHORT = {"num": 2, "step_deg": 180.0, "binning": 8, "num_dark": 1, "num_flat": 1, "flat_every": 0, "reference_every": 0}


def test_the_same_scan_with_both_targets(scope, RE, run, is_safe):
    uids = RE(two_target_tomography(scope, **SHORT, md={"sample_name": "pillar 7"})).plan_result
    first, second = run.all("start")
    assert uids == (first["uid"], second["uid"])
    assert [start["beam"]["target"] for start in (first, second)] == ["W", "Cu"]
    assert [start["parent_uids"] for start in (first, second)] == [[], [first["uid"]]]
    assert first["experiment_uid"] == second["experiment_uid"]
    assert {start["sample_name"] for start in (first, second)} == {"pillar 7"}
    assert {**first["plan_args"], "target": "Cu"} == second["plan_args"]
    assert [stop["num_events"]["flat"] for stop in run.all("stop")] == [2, 2]
    baseline = [event["data"]["target_material"] for event in run.all("event") if "target_material" in event["data"]]
    assert baseline == ["W", "W", "Cu", "Cu"]
    assert is_safe()


def test_any_two_targets_in_any_order(scope, RE, run):
    RE(two_target_tomography(scope, targets=("Cu", "Cr"), **SHORT, md={"experiment_uid": "mine"}))
    assert [start["beam"]["target"] for start in run.all("start")] == ["Cu", "Cr"]
    assert {start["experiment_uid"] for start in run.all("start")} == {"mine"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"targets": ("W", "W")}, "targets: needs two different materials"),
        ({"targets": "Cu"}, "targets: needs two different materials"),
        ({"targets": ("W", "Cu", "Cr")}, "targets: needs two different materials"),
        ({"targets": ("W", "Mo")}, "target: needs one of W, Cu, Cr"),
        ({"target": "Cu"}, "target: two_target_tomography takes both"),
        ({"exposure_s": -1.0}, "exposure_s: needs a number above 0"),
        ({"nun": 3}, "did you mean 'num'"),
        ({"second_scan": {"exposure_s": -1.0}}, "exposure_s: needs a number above 0"),
        ({"second_scan": {"target": "Cr"}}, "target: two_target_tomography takes both"),
        ({"second_scan": {"nun": 3}}, "did you mean 'num'"),
        ({"second_scan": 3}, "second_scan: needs settings by name"),
    ],
)
def test_what_is_refused_moves_nothing(scope, RE, run, state, arguments, told):
    before = state()
    with pytest.raises(ValueError, match=told):
        RE(two_target_tomography(scope, **{**SHORT, **arguments}))
    assert not run.documents
    assert any(told in problem for problem in preflight(scope, two_target_tomography, **arguments).problems)
    assert state() == before


def test_a_failure_in_the_second_scan_leaves_the_first_and_a_safe_instrument(scope, RE, run, is_safe, raises_at):
    def triggered(msg):
        return msg.command == "trigger" and msg.obj is scope.widepix

    with pytest.raises(RuntimeError, match="a cable came off"):
        RE(raises_at(two_target_tomography(scope, **SHORT), triggered, nth=7))
    assert [stop["exit_status"] for stop in run.all("stop")] == ["success", "fail"]
    assert is_safe()


def test_both_scans_are_weighed(scope, state):
    before = state()
    flight = preflight(scope, two_target_tomography, num=1200, binning=4)
    alone = preflight(scope, tomography, num=1200, binning=4)
    assert flight.ok
    assert flight.time_s == 2 * alone.time_s
    assert flight.disk_bytes == 2 * alone.disk_bytes
    assert state() == before


def test_the_second_scan_may_be_a_shorter_one(scope, RE, run):
    RE(two_target_tomography(scope, **SHORT, second_scan={"num": 1, "exposure_s": 2.0}))
    first, second = (start["plan_args"] for start in run.all("start"))
    assert {**first, "num": 1, "exposure_s": 2.0, "target": "Cu"} == second
    flight = preflight(scope, two_target_tomography, num=1200, second_scan={"num": 300})
    assert [part.disk_bytes for part in flight.parts] == [
        preflight(scope, tomography, num=num).disk_bytes for num in (1200, 300)
    ]
