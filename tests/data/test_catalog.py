from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from bluesky_tiled_plugins.clients.bluesky_run import BlueskyRunV3
from event_model import compose_run

from xrm_sims.data import documents, find_run, list_runs, open_catalog, open_experiment, read_counts, results
from xrm_sims.data.catalog import disconnect, running_server
from xrm_sims.data.frames import read_block
from xrm_sims.data.journal import journal_path, read_journal
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import Recorder, record_whole, replay
from xrm_sims.data.server import TiledServer

KEY = "camera_image"


def frames_file(root: Path) -> Path:
    (path,) = Layout(root).frames.glob("*.h5")
    return path


def frames_of(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["/entry/data/data"][()]


def comparable(docs):
    """What survives the catalogue: start and stop whole, event data by stream and number."""
    kept = [(name, doc) for name, doc in docs if name in ("start", "stop")]
    events = sorted((doc["seq_num"], sorted(doc["data"].items())) for name, doc in docs if name == "event")
    return [{key: value for key, value in doc.items() if key != "_name"} for _, doc in kept], events


def test_a_run_is_journalled_and_read_in_every_way(record, data):
    uid = record(5, {"sample_name": "cathode_pillar", "scan_type": "tomography"})
    journalled = list(read_journal(journal_path(Layout(data).journal, uid)))
    replayed = list(documents(uid[:8], data))
    expected = frames_of(frames_file(data))
    assert comparable(replayed) == comparable(journalled)

    (resource,) = [doc for name, doc in replayed if name == "stream_resource"]
    (datum,) = [doc for name, doc in replayed if name == "stream_datum"]
    indices = datum["indices"]
    np.testing.assert_array_equal(read_block(resource, indices["start"], indices["stop"]), expected)

    counts, start = read_counts(uid, KEY, data)
    np.testing.assert_array_equal(counts, expected)
    assert start["sample_name"] == "cathode_pillar"

    db = open_catalog(data).v1
    assert db[-1].start["uid"] == uid
    assert db[-1].stop["num_events"] == {"primary": 5}
    np.testing.assert_allclose(db[uid].table()["rotation_angle_deg"], 0.3 * np.arange(5))
    assert [header.start["uid"] for header in db(plan_name="scan")] == [uid]
    assert isinstance(open_catalog(data)[uid], BlueskyRunV3), "databroker's view must not change other clients"


def test_a_plain_tiled_client_reads_over_http(record, data):
    from tiled.client import from_uri

    uid = record(4)
    record.recorder.flush()
    with TiledServer(data) as server:
        assert running_server(Layout(data)) is not None
        client = from_uri(server.uri)
        image = client["runs"][uid]["primary"][KEY]
        expected = frames_of(frames_file(data))
        np.testing.assert_array_equal(image[1:3, 5], expected[1:3, 5])
        np.testing.assert_array_equal(image.read(), expected)
        broker = from_uri(server.uri)["runs"].v1
        assert broker[-1].start["uid"] == uid
        assert [name for name, _ in broker[uid].documents()].count("event") == 4

        script = f"""
from xrm_sims.data import documents, open_catalog, read_counts
data, uid = {str(data)!r}, {uid!r}
assert open_catalog(data).context.api_uri.port == {server.port}
print(sum(name == "event" for name, _ in documents(uid, data)), read_counts(uid, {KEY!r}, data)[0].sum())
"""
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert other.stdout.split() == ["4", str(expected.sum())], other.stderr
    assert running_server(Layout(data)) is None


def test_the_server_wants_its_key_and_keeps_it_private(data):
    import httpx

    with TiledServer(data) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{base}/api/v1/metadata/runs").status_code == 401
        assert httpx.get(f"{base}/api/v1/metadata/runs", params={"api_key": server.key}).status_code == 200
        assert "html" in httpx.get(server.url).headers["content-type"]
        assert stat.S_IMODE((Layout(data).tiled / "api_key").stat().st_mode) == 0o600
        assert TiledServer(data).key == server.key
        with pytest.raises(RuntimeError, match=f"port {server.port} .* choose another"):
            TiledServer(data, server.port)


def test_an_unknown_run_is_refused_naming_the_latest(record, data):
    uid = record(1)
    with pytest.raises(ValueError, match=f"run 'abcdef' is not in the catalogue .*data root; latest is {uid}"):
        documents("abcdef", data)
    with pytest.raises(ValueError, match="too short"):
        documents("abc", data)


def test_an_empty_catalogue_says_so(data):
    with pytest.raises(ValueError, match="it is empty"):
        documents("abcdef", data)


def test_runs_without_the_key_and_with_damaged_frames_are_refused(record, data):
    uid = record(6)
    with pytest.raises(ValueError, match="has no sector_counts in its stream 'primary'"):
        read_counts(uid, "sector_counts", data)
    path = frames_file(data)
    with open(path, "rb+") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"truncated .*: frames 0 to 5 cannot be read"):
        read_counts(uid, KEY, data)


def test_replay_rebuilds_a_lost_catalogue_and_does_nothing_twice(record, data):
    uids = [record(3), record(2)]
    record.recorder.flush()
    before = [comparable(list(documents(uid, data))) for uid in uids]
    disconnect(data)
    shutil.rmtree(Layout(data).tiled)
    catalog = open_catalog(data)
    assert len(catalog) == 0
    assert replay(Layout(data).journal, catalog) == uids
    assert [comparable(list(documents(uid, data))) for uid in uids] == before
    assert replay(Layout(data).journal, catalog) == []


def test_a_run_that_is_there_in_part_is_replaced_and_its_frames_stay(record, data):
    from bluesky_tiled_plugins import TiledWriter

    uid = record(5)
    record.recorder.flush()
    catalog = open_catalog(data)
    catalog[uid].delete(recursive=True, external_only=False)
    partly = TiledWriter(catalog, batch_size=1)
    for name, doc in list(read_journal(journal_path(Layout(data).journal, uid)))[:-4]:
        partly(name, doc)
    assert len(catalog[uid]["primary"][KEY]) < 5
    assert record.recorder.replay() == [uid]
    assert catalog[uid].metadata["stop"]["exit_status"] == "success"
    np.testing.assert_array_equal(catalog[uid]["primary"][KEY].read(), frames_of(frames_file(data)))


def test_a_killed_run_is_closed_in_journal_and_catalogue(data):
    script = f"""
import os, runpy, signal
from pathlib import Path
from bluesky import RunEngine
from ophyd import Signal
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import Recorder
parts = runpy.run_path({str(Path(__file__).with_name("conftest.py"))!r})
layout = Layout(Path({str(data)!r}))
RE = RunEngine()
RE.subscribe(Recorder(layout.root))
kill = lambda index: index == 4 and os.kill(os.getpid(), signal.SIGKILL)
RE(parts["scan"](parts["Camera"](layout.frames), Signal(name="rotation_angle_deg", value=0.0), 9, None, kill))
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    recorder = Recorder(data)
    (uid,) = recorder.replay()
    recorder.close()
    run = open_catalog(data)[uid]
    stop = run.metadata["stop"]
    assert (stop["exit_status"], stop["reason"], stop["num_events"]) == ("fail", "interrupted", {"primary": 4})
    assert list(read_journal(journal_path(Layout(data).journal, uid)))[-1][1] == stop
    assert run["primary"][KEY].shape[0] == 4
    np.testing.assert_array_equal(run["primary"][KEY].read(), frames_of_killed(data)[:4])


def frames_of_killed(data: Path) -> np.ndarray:
    with h5py.File(frames_file(data), swmr=True) as file:
        return file["/entry/data/data"][()]


def test_acquisition_goes_on_without_the_catalogue_and_the_journal_catches_up(record, data):
    """The catalogue's databases vanish while a run goes on, and come back before the next."""
    layout = Layout(data)
    record(2)
    record.recorder.flush()
    away = layout.root / "away"

    def lose(index: int) -> None:
        if index == 1:
            disconnect(data)
            layout.tiled.rename(away)
            layout.tiled.write_text("in the way")

    uid = record(3, at=lose)
    assert record.recorder.flush() == {uid}
    assert list(read_journal(journal_path(layout.journal, uid)))[-1][0] == "stop"
    layout.tiled.unlink()
    away.rename(layout.tiled)
    disconnect(data)
    assert record.recorder.flush() == set()
    assert open_catalog(data)[uid]["primary"][KEY].shape[0] == 3


def test_an_experiment_gathers_its_runs_in_order(record, data):
    alone = record(1, {"scan_type": "tomography"})
    linked = [record(1, {"scan_type": kind, "experiment_uid": "e" * 36}) for kind in ("tomography", "sims_raster")]
    for handle in ("e" * 36, "e" * 5, linked[1][:9]):
        experiment = open_experiment(handle, data)
        assert experiment.uid == "e" * 36
        assert [run.metadata["start"]["uid"] for run in experiment.runs] == linked
    (raster,) = experiment.of_type("sims_raster")
    assert raster.metadata["start"]["uid"] == linked[1]
    assert [run.metadata["start"]["uid"] for run in open_experiment(alone, data).runs] == [alone]
    rest = record(1, {"scan_type": "tomography", "resumes_uid": alone})
    for part in (alone, rest):
        whole = open_experiment(part, data)
        assert [run.metadata["start"]["uid"] for run in whole.runs] == [alone, rest]
    record(1, {"scan_type": "tomography", "experiment_uid": "e" * 35 + "f"})
    with pytest.raises(ValueError, match="experiment 'eeeee': more than one begins so"):
        open_experiment("eeeee", data)
    with pytest.raises(ValueError, match="is not in the catalogue"):
        open_experiment("nothing like it", data)


def test_several_data_roots_are_open_at_once(tmp_path):
    """Each with a key of its own, in this process and behind a server."""
    roots = [tmp_path / name for name in "abc"]
    for root in roots[:2]:
        assert len(open_catalog(root)) == 0
    with TiledServer(roots[2]):
        for root in (*roots, roots[0]):
            assert len(open_catalog(root)) == 0
            results.save(root, "r" * 36, "note", metadata={"root": root.name})
    for root in roots:
        assert results.load(root, "r" * 36, "note").metadata["root"] == root.name
        disconnect(root)


def test_the_server_record_of_a_dead_server_is_ignored(data):
    layout = Layout(data)
    layout.tiled.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    layout.server_record.write_text(json.dumps({"uri": "http://127.0.0.1:9/api/v1", "port": 9, "pid": gone.pid}))
    assert running_server(layout) is None
    assert len(open_catalog(data)) == 0


def test_the_newest_run_is_the_one_that_started_last_not_the_one_that_came_last_into_the_catalogue(data):
    uids = {}
    for time in (1.7e9, 1.9e9, 1.8e9):
        run = compose_run(metadata={}, time=time)
        uids[time] = record_whole(data, [("start", run.start_doc), ("stop", run.compose_stop())])
    assert open_experiment(data=data).uid == uids[1.9e9]
    assert list(list_runs(data).index) == [uids[time][:8] for time in sorted(uids)]
    with pytest.raises(ValueError, match=f"latest is {uids[1.9e9]}"):
        find_run("there is no such run", data)
