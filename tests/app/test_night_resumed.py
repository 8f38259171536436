"""A night that was interrupted or killed continues: nothing acquired is acquired again."""

import json
import os
import signal
from collections import Counter

import numpy as np
import pytest

from plans import Aim, Computed
from tests.app.conftest import is_safe, journal_starts
from xrm_sims.app.common.signals import Interrupted
from xrm_sims.app.night.computations import NightComputations
from xrm_sims.app.night.runner import night_plan
from xrm_sims.app.session.session import open_session
from xrm_sims.data import read_raster
from xrm_sims.data.parts import find_parts
from xrm_sims.patterns import Rectangle

BOX = Rectangle(size_um=(6.0, 6.0), depth_um=0.2, passes=12)
AIM = Aim(BOX, fov_um=8.0)
CT = {"do": "tomography", "num": 30, "step_deg": 12.0, "binning": 8, "num_dark": 1, "num_flat": 1}
RASTER = {"do": "sims_raster", "at": "roi", "shape": [8, 8], "frames": 16}
IMAGE = {"shape": [8, 8]}
SHEET = {
    "title": "Two specimens",
    "samples": [
        {"name": "A", "specimen": "cathode_pillar:1"},
        {"name": "B", "specimen": "cathode_pillar:2", "steps": [{"do": "se_image", "fov_um": 20.0, **IMAGE}]},
    ],
    "steps": [
        CT,
        {"do": "reconstruct"},
        {"do": "find_rois"},
        {"do": "align", **IMAGE},
        {"do": "mill", "at": "roi"},
        RASTER,
    ],
}
MOMENTS = [("tomography", "primary", 3), ("milling", "primary", 2), ("sims_raster", "dose", 2)]


@pytest.fixture
def computed(monkeypatch):
    """Records the calls of the computations, which have their own tests."""
    asked = Counter()

    def answer(name, value):
        def method(self, *given):
            asked[name] += 1
            return Computed(value, name)

        monkeypatch.setattr(NightComputations, name, method)

    answer("reconstruct", "volume")
    answer("find_rois", AIM)
    answer("align", AIM)
    monkeypatch.setattr(NightComputations, "check", lambda self, do, arguments: None)
    return asked


def stop_at(kind, stream, number):
    """A callback that sends its own process a signal at an event of a run."""
    streams, run = {}, {}

    def hear(name, doc):
        if name == "start":
            run.update(doc)
        elif name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event" and (run["scan_type"], streams[doc["descriptor"]], doc["seq_num"]) == (
            kind,
            stream,
            number,
        ):
            os.kill(os.getpid(), signal.SIGTERM)

    return hear


def record_of(data):
    (folder,) = (data / "nights").iterdir()
    return folder, json.loads((folder / "night.json").read_text())


def test_stopped_in_every_kind_of_measurement(data, computed):
    """The same sheet is run four times: one night, one folder, one summary, each view, pass and frame once."""
    with open_session(data, seed=1) as session:
        for moment in MOMENTS:
            with pytest.raises(Interrupted):
                session.run(night_plan(session, SHEET, announce=str), stop_at(*moment))
            _, record = record_of(data)
            assert record["state"] == "interrupted"
        night = session.run(night_plan(session, SHEET, announce=str))
        assert (night.state, night.safe) == ("done", True)
        assert [outcome.status for outcome in night.outcomes] == 9 * ["done"]
        starts = journal_starts(data)
        kinds = Counter(start["scan_type"] for start in starts)
        assert kinds == {"tomography": 2, "se_image": 2, "milling": 2, "sims_raster": 2}
        assert {start["night_uid"] for start in starts} == {night.uid}
        assert len({start["experiment_uid"] for start in starts}) == 2

        by_kind = {start["scan_type"]: start["uid"] for start in reversed(starts)}
        parts = find_parts(data / "journal", by_kind["tomography"])
        views = [part.start["view_indices"][number - 1] for part in parts for number in part.taken]
        assert sorted(views) == list(range(30))
        dose_nc = sum(
            part.after["fib_scan_dose_nc"] - part.before["fib_scan_dose_nc"]
            for part in find_parts(data / "journal", by_kind["milling"])
        )
        assert dose_nc == pytest.approx(BOX.dose_nc(session.settings.sputtering.rate_lco_um3_per_nc))
        for start in starts:
            if start["scan_type"] == "sims_raster":
                counts, whole = read_raster(start["uid"], data)  # any part gives the whole
                assert (len(counts), whole["frame_indices"]) == (16, list(range(16)))
                assert whole["uid"] == by_kind["sims_raster"]
        assert np.all(counts.sum(axis=(1, 2, 3)) > 0)
        # what only the process knew is computed again where a step still wants it: in all goes but the first
        assert computed == {"reconstruct": 3, "find_rois": 3, "align": 3}

        folder, record = record_of(data)
        assert len(record["resumed_s"]) == 3
        assert [outcome["attempts"] for outcome in record["outcomes"]] == [1, 2, 1, 1, 1, 2, 2, 1, 1]
        summary = (folder / "summary.md").read_text()
        assert "; interrupted, resumed " in summary
        assert "Steps: 9 done." in summary
        assert all(start["uid"] in summary for start in starts)
        only_b = {**SHEET, "samples": SHEET["samples"][1:]}
        others = {session.run(night_plan(session, only_b, announce=str)).uid for _ in range(2)}
        assert len(others - {night.uid}) == 2  # a night that came to its end is over
    assert is_safe(data)


KILLED = """
[[samples]]
name = "A"
[[steps]]
do = "se_image"
fov_um = 20.0
shape = [8, 8]
[[steps]]
do = "tomography"
num = 400  # so many that the kill comes before the last
step_deg = 0.9
binning = 8
num_dark = 1
num_flat = 1
"""


def test_a_killed_night_goes_on_and_has_its_summary(data, tmp_path, launch, command):
    sheet = tmp_path / "sheet.toml"
    sheet.write_text(KILLED)
    running = launch("night", sheet, "--data", data)
    running.until(r"[1-9]\d*/400")
    assert running.end(signal.SIGKILL).code == -signal.SIGKILL
    folder, record = record_of(data)
    assert record["state"] == "running"  # it could not say more

    recovered = command("recover", "--data", data)
    assert f"night closed as interrupted, the same sheet continues it: {folder}" in recovered.out
    assert "The night was interrupted: its process was killed. Steps: 1 done, 1 interrupted." in (
        (folder / "summary.md").read_text()
    )
    ended = command("night", sheet, "--data", data)
    assert ended.code == 0, ended.err
    _, record = record_of(data)
    assert (record["state"], record["safe"]) == ("done", True)
    image, first, second = journal_starts(data)
    assert image["scan_type"] == "se_image"
    assert second["resumes_uid"] == first["uid"]
    assert record["outcomes"][1]["uids"] == [first["uid"], second["uid"]]
    parts = find_parts(data / "journal", first["uid"])
    views = [part.start["view_indices"][number - 1] for part in parts for number in part.taken]
    assert sorted(views) == list(range(400))
    assert "The night ran to its end. Steps: 2 done." in (folder / "summary.md").read_text()
    assert is_safe(data)
