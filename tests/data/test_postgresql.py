"""The catalogue in a real PostgreSQL server, started for these tests in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from glob import glob
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import KEY, recording
from tests.programs import installed
from xrm_sims.data import documents, find_run, open_catalog, results
from xrm_sims.data.catalog import disconnect, open_results
from xrm_sims.data.database import database_of, prepare_postgresql, without_password
from xrm_sims.data.layout import Layout
from xrm_sims.data.moving import move_catalogue
from xrm_sims.data.server import TiledServer

ROIS = [{"number": 1, "kind": "pore"}, {"number": 2, "kind": "crack"}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def postgresql():
    """Makes a database and gives its URI. The server refuses to run as root: then it runs as nobody."""
    folders = os.pathsep.join(sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True))
    bin_folder = Path(installed("postgresql", "initdb", folders=folders)).resolve().parent
    folder, port = Path(tempfile.mkdtemp(prefix="pg-")), free_port()
    own = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    if own:
        shutil.chown(folder, "nobody", "nogroup")

    def run(program, *words):
        command = [bin_folder / program, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, **own)
        assert done.returncode == 0, done.stdout + done.stderr

    run("initdb", "-D", folder / "db", "-U", "xrm", "--auth=trust", "--no-sync", "--no-instructions")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run("pg_ctl", "-D", folder / "db", "-l", folder / "log", "-o", options, "-w", "start")

    def create(name):
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "xrm", name)
        return f"postgresql://xrm@127.0.0.1:{port}/{name}"

    yield create
    run("pg_ctl", "-D", folder / "db", "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder)


def events(uid, data):
    return [sorted(doc["data"].items()) for name, doc in documents(uid, data) if name == "event"]


def test_a_catalogue_moves_from_sqlite_and_goes_on(postgresql, data):
    layout = Layout(data)
    volume = np.random.default_rng(3).random((5, 30, 40), dtype=np.float32)
    with recording(data) as run:
        first = run(3, {"sample_name": "cathode", "scan_type": "tomography"})
    results.save(data, first, "volume", {"volume": volume}, {"sweeps": 2}, ["p"], tables={"rois": ROIS})
    before, about = events(first, data), dict(results.find(data, first, "volume").metadata)
    uri = postgresql("moved")
    said = []
    assert move_catalogue(data, uri, said.append) == 1
    assert said == ["runs: from their journals", f"results of {first[:8]}: volume"]
    assert database_of(layout) == uri
    assert stat.S_IMODE(layout.database.stat().st_mode) == 0o600

    for name in ("runs", "results"):  # nothing of it is needed any more
        shutil.rmtree(layout.tiled / name, ignore_errors=True)
        for path in layout.tiled.glob(f"{name}*.db*"):
            path.unlink()
    assert events(first, data) == before
    kept = results.load(data, first, "volume")
    np.testing.assert_array_equal(kept.arrays["volume"], volume)
    assert kept.tables["rois"].to_dict("records") == ROIS
    assert kept.metadata == about

    disconnect(data)
    with TiledServer(data) as server:
        script = f"""
from tests.data.conftest import recording
from pathlib import Path
with recording(Path({str(data)!r})) as run:
    print(run(4, {{"sample_name": "anode"}}))
"""
        recorded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        second = recorded.stdout.strip()
        assert second, recorded.stderr
        from tiled.client import from_uri
        from tiled.queries import Eq, Like

        runs = from_uri(server.uri)["runs"]
        assert list(runs) == [first, second]
        assert list(runs.search(Eq("start.sample_name", "anode"))) == [second]
        assert list(runs.search(Like("start.sample_name", "%thod%"))) == [first]
        assert open_catalog(data)[second]["primary"][KEY].shape[0] == 4
        assert [header.start["uid"] for header in open_catalog(data).v1(sample_name="anode")] == [second]
    results.save(data, first, "volume", {"volume": volume + 1})
    np.testing.assert_array_equal(results.load(data, first, "volume").arrays["volume"], volume + 1)
    assert len(open_catalog(data)) == 2
    assert not list(layout.tiled.glob("*.db"))


def test_a_run_without_a_journal_stops_the_move(postgresql, data):
    with recording(data) as run:
        uid = run(2)
    (Layout(data).journal / f"{uid}.jsonl").unlink()
    uri = postgresql("refused")
    with pytest.raises(RuntimeError, match=f"1 runs are in no journal, {uid} among them: nothing was changed"):
        move_catalogue(data, uri)
    assert database_of(Layout(data)) is None
    assert find_run(uid, data).metadata["start"]["uid"] == uid
    prepare_postgresql(uri)  # it may be used again


def test_a_database_that_does_not_answer_is_named(data):
    layout = Layout(data)
    nowhere = f"postgresql://xrm:secret@127.0.0.1:{free_port()}/name"
    for uri in ("sqlite:///a", "postgresql://host", "name"):
        with pytest.raises(ValueError, match="needs postgresql://user@host/name"):
            move_catalogue(data, uri)
    with pytest.raises(RuntimeError, match=r"the database postgresql://127.0.0.1:\d+/name cannot be used") as told:
        move_catalogue(data, nowhere)
    assert "secret" not in str(told.value)
    disconnect(data)
    layout.database.write_text(nowhere)
    for read in (open_catalog, open_results, lambda data: TiledServer(data).run()):
        with pytest.raises(RuntimeError, match="cannot be used"):
            read(data)
    with recording(data) as run:  # acquisition goes on, the journal keeps it
        uid = run(2)
        assert run.recorder.flush() == {uid}
    layout.database.unlink()
    with recording(data) as run:
        assert run.recorder.replay() == [uid]
    assert without_password(nowhere).startswith("postgresql://127.0.0.1:")
    disconnect(data)
