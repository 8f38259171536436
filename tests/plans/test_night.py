"""Nights on the twin: which steps run, which are skipped, the record, and the final state of the instrument."""

from dataclasses import replace
from functools import cache

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted

from plans import Aim, Computed, SheetError, check_sheet, night, preflight, read_sheet, tomography
from xrm_sims.patterns import Rectangle
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin import check_sample
from xrm_sims.twin.specimen_registry import SAMPLES

CT = {"do": "tomography", "num": 2, "step_deg": 180.0, "binning": 8, "num_dark": 1, "num_flat": 1, "reference_every": 0}
SE = {"do": "se_image", "fov_um": 20.0, "shape": [8, 8]}
SIMS = {"do": "sims_raster", "at": "roi", "shape": [8, 8]}
MILL = {"do": "mill", "at": "roi"}
ON_ROI = [{"do": "align", "shape": [8, 8]}, MILL, SIMS, {"do": "register"}]
CHAIN = [CT, {"do": "reconstruct"}, {"do": "find_rois"}, *ON_ROI]
AIM = Aim(Rectangle((6.0, 6.0), 0.1, passes=2), fov_um=5.0, centre_um=(1.0, -1.0))


_pillar = cache(CathodePillar)  # a specimen never changes, what is cut from it is the instrument's to know


@pytest.fixture(autouse=True)
def each_specimen_is_made_once(monkeypatch):
    monkeypatch.setitem(SAMPLES, "cathode_pillar", _pillar)


class Bench:
    """Fixed results; the real computations have tests of their own."""

    def __init__(self, aim=AIM):
        self.aim = aim
        self.asked = []

    def check(self, do, arguments):
        for name in arguments:
            raise ValueError(f"{name}: {do} has no such setting")

    def reconstruct(self, tomography_uid):
        self.asked.append(tomography_uid)
        return Computed({"uid": tomography_uid}, "a volume")

    def find_rois(self, volume):
        return Computed(self.aim, "one pore" if self.aim else "no ROI")

    def align(self, aim, se_uid):
        return Computed(aim, "aligned")

    def verify(self, aim, se_uid):
        return Computed(replace(aim, reached=True), "at the plane")

    def register(self, result):
        return Computed("registered", "within 50 nm")


@pytest.fixture
def records():
    return []


@pytest.fixture
def run_night(scope, RE, records):
    def start(sheet, bench=None, **options):
        keep = lambda night: records.append((night.state, [o.status for o in night.outcomes]))  # noqa: E731
        plan = night(scope, sheet, bench=bench or Bench(), keep=keep, **options)
        return RE(plan).plan_result

    return start


def sheet(*steps, **changes):
    return {"samples": [{"name": "pillar 7"}], "steps": list(steps), **changes}


def outcomes(record):
    return [(outcome.do, outcome.status) for outcome in record.outcomes]


def test_the_whole_chain_on_two_specimens(scope, run_night, run, twin, is_safe, records):
    samples = [{"name": f"pillar {seed}", "specimen": f"cathode_pillar:{seed}"} for seed in (5, 6)]
    bench = Bench()
    record = run_night({"title": "Two", "operator": "Ada", "samples": samples, "steps": CHAIN}, bench)
    assert record.state == "done"
    assert record.safe is True
    assert is_safe()
    assert outcomes(record) == 2 * [("exchange", "done"), *((step["do"], "done") for step in CHAIN)]
    starts = run.all("start")
    assert [start["scan_type"] for start in starts] == 2 * ["tomography", "se_image", "milling", "sims_raster"]
    assert [start["sample_name"] for start in starts] == [f"pillar {seed}" for seed in (5, 6) for _ in range(4)]
    assert {start["night_uid"] for start in starts} == {record.uid}
    assert {start["operator"] for start in starts} == {"Ada"}
    assert len({start["experiment_uid"] for start in starts}) == 2
    assert starts[3]["parent_uids"] == [starts[0]["uid"], starts[2]["uid"]]
    assert starts[3]["centre_um"] == [1.0, -1.0]
    assert bench.asked == [start["uid"] for start in starts if start["scan_type"] == "tomography"]
    assert [uid for outcome in record.outcomes for uid in outcome.uids] == [start["uid"] for start in starts]
    assert twin.instrument.get("specimen") == "cathode_pillar:6"
    assert twin.fib.get("dose_nc") < 2 * AIM.mill.dose_nc(scope.settings.sputtering.rate_lco_um3_per_nc)  # of one only
    assert records[0] == ("running", 16 * ["waiting"])
    assert records[-1] == ("done", 16 * ["done"])


def test_without_an_roi_nothing_is_milled(run_night, twin):
    record = run_night(sheet(*CHAIN, {**SE, "when": "roi_found"}, SE), Bench(aim=None))
    left_out = [outcome.do for outcome in record.outcomes if outcome.status == "skipped"]
    assert left_out == ["align", "mill", "sims_raster", "register", "se_image"]
    assert record.outcomes[4].said == "no ROI was found"
    assert outcomes(record)[-1] == ("se_image", "done")
    assert record.state == "done"


def test_correlative_without_an_roi_is_no_failure(run_night, run, twin):
    step = {"do": "correlative", "tomography": {k: CT[k] for k in CT if k != "do"}, "se": {"shape": [8, 8]}}
    record = run_night(sheet(step), Bench(aim=None))
    assert outcomes(record) == [("correlative", "done")]
    assert record.outcomes[0].said == "no ROI; nothing was milled"
    assert record.outcomes[0].uids == [run.start["uid"]]
    found = run_night(sheet({**step, "sims": {"shape": [8, 8]}}))
    assert len(found.outcomes[0].uids) == 5
    assert found.outcomes[0].said == "a volume; one pore; aligned; at the plane; within 50 nm"


@pytest.fixture
def failing_exposures(twin, monkeypatch):
    """Make the next exposures fail."""

    def fail(times):
        whole, left = twin.widepix.expose, [times]

        def expose():
            if left[0] > 0:
                left[0] -= 1
                raise RuntimeError("widepix: the high voltage arced")
            return whole()

        monkeypatch.setattr(twin.widepix, "expose", expose)

    return fail


def test_a_failed_step_is_tried_again(run_night, run, failing_exposures, is_safe):
    failing_exposures(1)
    record = run_night(sheet(CT, retries=1))
    (outcome,) = record.outcomes
    assert (outcome.status, outcome.attempts, outcome.said) == ("done", 2, "")
    assert [stop["exit_status"] for stop in run.all("stop")] == ["fail", "success"]
    assert outcome.uids == [start["uid"] for start in run.all("start")]
    assert is_safe()


@pytest.mark.parametrize(
    ("policy", "statuses", "end"),
    [
        ("skip", ["failed", "done", "done", "done"], "done"),
        ("next_sample", ["failed", "skipped", "done", "done"], "done"),
        ("stop", ["failed", "skipped", "skipped", "skipped"], "stopped"),
    ],
)
def test_what_happens_after_a_failure(run_night, failing_exposures, is_safe, policy, statuses, end):
    failing_exposures(1)
    samples = [{"name": "one"}, {"name": "two"}]
    steps = [{**CT, "on_failure": policy}, SE]
    record = run_night({"samples": samples, "steps": steps}, in_words=lambda error: str(error.__cause__))
    assert [outcome.status for outcome in record.outcomes] == statuses
    assert record.state == end
    assert record.outcomes[0].said == "widepix: the high voltage arced"
    assert policy != "stop" or record.why == record.outcomes[0].said
    assert len(record.outcomes[0].uids) == 1
    assert is_safe()


def test_what_rests_on_a_failed_step_is_left_out(run_night, failing_exposures):
    failing_exposures(1)
    record = run_night(sheet(CT, {"do": "reconstruct"}, {**SE, "when": "nothing_failed"}, SE, on_failure="skip"))
    assert [outcome.status for outcome in record.outcomes] == ["failed", "skipped", "skipped", "done"]
    assert record.outcomes[1].said == "there is no tomography to work on"
    assert record.outcomes[2].said == "an earlier step failed on this specimen"


def test_an_aborted_night_is_left_safe_and_says_so(scope, RE, run, interrupt, is_safe, records):
    kept = []
    plan = night(scope, sheet(SE, CT, SE), bench=Bench(), keep=kept.append, in_words=lambda error: "by hand")
    interrupt(plan, lambda msg: msg.command == "trigger" and msg.obj is scope.widepix, nth=2)
    RE.abort("enough")
    record = kept[-1]
    assert (record.state, record.why, record.safe) == ("interrupted", "by hand", True)
    assert [outcome.status for outcome in record.outcomes] == ["done", "interrupted", "skipped"]
    assert run.stop["exit_status"] == "abort"
    assert is_safe()


def test_a_pause_goes_on_where_it_was(scope, RE, run, interrupt):
    kept = []
    plan = night(scope, sheet(CT, SE), bench=Bench(), keep=kept.append)
    interrupt(plan, lambda msg: msg.command == "trigger" and msg.obj is scope.widepix, nth=2)
    RE.resume()
    assert kept[-1].state == "done"
    assert [stop["exit_status"] for stop in run.all("stop")] == ["success", "success"]


def test_the_specimen_is_exchanged_only_when_nothing_can_go_wrong(scope, RE):
    with pytest.raises(ValueError, match="is exchanged in transfer mode, the instrument is in xray mode"):
        RE(bps.mv(scope.specimen, "cathode_pillar:2"))
    RE(bps.mv(scope.mode, "transfer"))
    with pytest.raises(FailedStatus) as failure:
        RE(bps.mv(scope.specimen, "moon_rock"))
    assert "there is no 'moon_rock'" in str(failure.value.__cause__)
    before_s = scope.time_s.get()
    RE(bps.mv(scope.specimen, "cathode_pillar:2"))
    assert scope.time_s.get() - before_s == pytest.approx(scope.settings.chamber.exchange_s)


@pytest.mark.parametrize(
    ("changes", "where", "told"),
    [
        ({"samples": []}, ("samples",), "at least 1 entries"),
        ({"colour": "red"}, ("colour",), "no such entry"),
        ({"title": 5}, ("title",), "needs text, got 5"),
        ({"samples": [{"name": "a"}, {"name": "a"}]}, ("samples", 0, "name"), "2 samples have the name 'a'"),
        ({"samples": [{"name": "a", "specimen": "moon"}]}, ("samples", 0, "specimen"), "there is no 'moon'"),
        ({"samples": [{"nmae": "a"}]}, ("samples", 0), "needs 'name'"),
        ({"steps": []}, ("samples", 0), "has no steps"),
        ({"steps": [{}]}, ("steps", 0), "needs 'do'"),
        ({"steps": [{"do": "tomografy"}]}, ("steps", 0, "do"), "did you mean 'tomography'"),
        ({"steps": [{**CT, "nmu": 3}]}, ("steps", 0, "nmu"), "did you mean 'num'"),
        ({"steps": [{**CT, "num": -3}]}, ("steps", 0, "num"), "at least 1, got -3"),
        ({"steps": [{**CT, "num": "many"}]}, ("steps", 0, "num"), "needs a whole number, got 'many'"),
        ({"steps": [{**CT, "exposure_s": 1e9}]}, ("steps", 0, "exposure_s"), "is outside"),
        ({"steps": [{**CT, "retries": 99}]}, ("steps", 0, "retries"), "at most 10"),
        ({"steps": [{**CT, "at": "roi"}]}, ("steps", 0, "at"), "cannot be placed at the ROI"),
        ({"steps": [{"do": "reconstruct"}]}, ("steps", 0), "needs a tomography or correlative before it"),
        ({"steps": [{**SE, "when": "roi_found"}]}, ("steps", 0), "needs a find_rois"),
        ({"steps": [*CHAIN[:3], {**MILL, "depth_um": 1}]}, ("steps", 3, "depth_um"), "come from the ROI"),
        ({"steps": [*CHAIN[:3], {**MILL, "retries": 2}]}, ("steps", 3, "retries"), "never repeated"),
        ({"steps": [{"do": "mill", "depth_um": 1.0}]}, ("steps", 0), "needs size_um"),
        ({"steps": [{"do": "mill", "kind": "star"}]}, ("steps", 0, "kind"), "needs one of rectangle"),
        ({"steps": [{"do": "mill", "size_um": 3, "depth_um": 1}]}, ("steps", 0, "size_um"), "needs a list"),
        ({"steps": [{"do": "correlative", "sims": {"bias_v": 0}}]}, ("steps", 0, "sims"), "stage bias"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_moves(run_night, run, state, changes, where, told):
    before = state()
    with pytest.raises(SheetError, match=told) as refused:
        run_night(sheet(CT) | changes, check_specimen=check_sample)
    assert refused.value.where[: len(where)] == where
    assert state() == before
    assert run.documents == []


def test_time_dose_and_disk_are_the_sum_of_the_steps(scope):
    weighed = check_sheet(scope, read_sheet(sheet(CT, SE, CT)), Bench())
    once = preflight(scope, tomography, **{k: v for k, v in CT.items() if k != "do"})
    assert weighed.dose_nc("target") == pytest.approx(2 * once.dose_nc("target"))
    assert weighed.disk_bytes == 2 * once.disk_bytes + 8 * 8 * 4
    assert weighed.time_s > 2 * once.time_s
    assert "together" in str(weighed)


def test_a_sheet_that_is_no_table(run_night):
    with pytest.raises(SheetError, match="needs a table"):
        run_night("sheet.toml")


def test_ctrl_c_twice_pauses_and_stop_ends_it(scope, RE, is_safe):
    kept = []
    with pytest.raises(RunEngineInterrupted):
        RE(_with_a_pause(night(scope, sheet(CT), bench=Bench(), keep=kept.append)))
    RE.stop()
    assert kept[-1].state == "interrupted"
    assert is_safe()


def _with_a_pause(plan):
    seen = []

    def pausing(msg):
        if msg.command == "save":
            seen.append(msg)
            if len(seen) == 3:
                return None, bps.pause()
        return None, None

    return (yield from bpp.plan_mutator(plan, pausing))
