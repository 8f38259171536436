"""A night from the command line: its record, log and summary, and its end after a signal."""

import json
import re
import signal
from html.parser import HTMLParser

import pytest

from tests.app.conftest import is_safe, journal_starts, twin_values
from xrm_sims.app.session.night_record import newest
from xrm_sims.data.layout import Layout

SHORT = 'do = "tomography"\nnum = 3\nstep_deg = 120.0\nbinning = 8\nnum_dark = 1\nnum_flat = 1\n'
SHEET = f"""
title = "A <short> night"
operator = "Ada"

[[samples]]
name = "Kokam | A"

[[steps]]
{SHORT}
[[steps]]
do = "reconstruct"
correct = false
sweeps = 1

[[steps]]
do = "find_rois"

[[steps]]
do = "mill"
at = "roi"
"""
ENDLESS = SHORT.replace("num = 3", "num = 10000").replace("120.0", "0.03")


@pytest.fixture
def sheet(tmp_path):
    def write(text):
        (tmp_path / "sheet.toml").write_text(text)
        return tmp_path / "sheet.toml"

    return write


def only_night(data):
    (folder,) = (data / "nights").iterdir()
    return folder, json.loads((folder / "night.json").read_text())


class Page(HTMLParser):
    """The text of a page, and every address in it."""

    def __init__(self, text):
        super().__init__()
        self.said, self.refers = "", []
        self.feed(text)
        self.close()

    def handle_data(self, data):
        self.said += data

    def handle_starttag(self, tag, attrs):
        self.refers += [value for name, value in attrs if name in ("src", "href")]


def test_a_night_and_its_summary(data, sheet, command):
    ended = command("night", sheet(SHEET), "--data", data)
    assert ended.code == 0, ended.err
    folder, record = only_night(data)
    assert (record["state"], record["safe"]) == ("done", True)
    assert [outcome["status"] for outcome in record["outcomes"]] == ["done", "done", "done", "skipped"]
    (start,) = journal_starts(data)
    assert (start["sample_name"], start["operator"], start["night_uid"]) == ("Kokam | A", "Ada", record["uid"])
    markdown = (folder / "summary.md").read_text()
    assert "The night ran to its end. Steps: 3 done, 1 skipped." in markdown
    assert "Instrument: both beams blanked, target parked." in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    page = Page((folder / "summary.html").read_text())
    assert "A <short> night" in page.said
    assert start["uid"] in page.said
    assert page.refers
    assert all(reference.startswith("data:image/png;base64,") for reference in page.refers)
    log = (folder / "log.txt").read_text()
    assert "Kokam | A: mill skipped: no ROI was found" in log
    assert (folder / "sheet.toml").read_text() == SHEET
    assert not list(folder.glob(".*"))  # nothing half-written
    assert f"summary: {folder / 'summary.html'}" in ended.out
    assert is_safe(data)


def test_a_dry_run_moves_nothing(data, sheet, command):
    ended = command("night", sheet(SHEET), "--dry-run", "--data", data)
    assert ended.code == 0
    assert re.search(r"together +\d.* h .*MB .*nC on target, .*nC on specimen", ended.out)
    assert [path.name for path in data.iterdir()] == ["settings.toml"]  # no instrument, no run, no night


def test_a_sheet_that_cannot_be_done_is_refused_by_its_line(data, sheet, command):
    path = sheet(SHEET.replace("num = 3", "num = 0"))
    ended = command("night", path, "--data", data)
    assert ended.code == 1
    line = SHEET.splitlines().index("num = 3") + 1
    assert ended.err == (
        f"xrm-sims: night sheet {path}, line {line}: steps[0].num: needs a whole number of at least 1, got 0\n"
    )
    assert not (data / "nights").exists()


def test_a_signal_ends_a_night_safely_and_the_summary_states_it(data, sheet, launch):
    running = launch("night", sheet(f"[[samples]]\nname = 'A'\n[[steps]]\n{ENDLESS}[[steps]]\n{SHORT}"), "--data", data)
    running.until(r"[1-9]\d*/10000")
    ended = running.end(signal.SIGTERM)
    assert ended.code == 130
    folder, record = only_night(data)
    assert (record["state"], record["safe"]) == ("interrupted", True)
    assert [outcome["status"] for outcome in record["outcomes"]] == ["interrupted", "skipped"]
    summary = (folder / "summary.md").read_text()
    assert "The night was interrupted: " in summary
    assert "both beams blanked, target parked" in summary
    assert record["outcomes"][0]["uids"] == [start["uid"] for start in journal_starts(data)]
    assert "Traceback" not in ended.err
    assert is_safe(data)


def test_a_failed_step_makes_the_exit_code(data, sheet, command, monkeypatch):
    from xrm_sims.twin.detectors import WidePix

    def arcs(self):
        raise RuntimeError("widepix: the high voltage arced")

    monkeypatch.setattr(WidePix, "expose", arcs)
    ended = command("night", sheet(f"retries = 1\n[[samples]]\nname = 'A'\n[[steps]]\n{SHORT}"), "--data", data)
    assert ended.code == 1
    folder, record = only_night(data)
    assert (record["outcomes"][0]["status"], record["outcomes"][0]["attempts"]) == ("failed", 2)
    assert "widepix: the high voltage arced" in (folder / "summary.md").read_text()
    assert "failed after 2 attempts" in (folder / "summary.md").read_text()
    assert twin_values(data)["beam"]["blanked"]


def test_the_newest_night_is_the_one_that_began_last(tmp_path):
    """The times of the files do not matter: a copied data root has others."""
    layout = Layout(tmp_path)
    for name, began_s in (("later", 2e9), ("earlier", 1e9)):  # the earlier night is written last
        (layout.nights / name).mkdir(parents=True)
        (layout.nights / name / "night.json").write_text(json.dumps({"uid": name, "began_s": began_s}))
    assert newest(layout)["uid"] == "later"
    assert newest(Layout(tmp_path / "empty")) is None
