"""Reconstruction by the workers of dask.distributed: the same volumes, also when a worker is killed; clear refusals."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster, Scheduler, SpecCluster

from benchmarks.recon_phantom import parallel_geometry, pillar_with_spheres
from tests.app.conftest import own_lines
from tests.conftest import free_port
from tests.exchange.conftest import write_synchrotron
from xrm_sims.app.tomography import cluster as on_dask
from xrm_sims.app.tomography.tomogram import Job, Tomogram
from xrm_sims.data import results
from xrm_sims.exchange import import_file
from xrm_sims.exchange.importing import Choices

OPTIONS = ("--voxel-um", "2", "--sweeps", "2")


@pytest.fixture(scope="module")
def measured(shared_data, tmp_path_factory):
    """Two scans of a pillar with spheres, imported."""
    geometry, folder, uids = parallel_geometry(64, 24, 40), tmp_path_factory.mktemp("scans"), []
    for seed in (1, 2):
        path = write_synchrotron(folder / f"{seed}.h5", geometry, pillar_with_spheres(64, 24, seed))
        uids.append(import_file(path, shared_data, Choices(pixel_um=1.0)))
    return shared_data, uids


@pytest.fixture(scope="module")
def alone(measured):
    """What one process makes of them."""
    data, uids = measured
    jobs = {uid: Job.of(uid, data, voxel_um=2.0, sweeps=2) for uid in uids}
    return {uid: job.run(lambda stage, share: None) for uid, job in jobs.items()}


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes."""
    with LocalCluster(2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as running:
        yield running


def assert_same(volume, tomogram):
    """Within what single precision leaves of sums taken in another order."""
    np.testing.assert_allclose(volume, tomogram.volume, rtol=0, atol=1e-5 * tomogram.volume.max())


def test_several_runs_come_out_as_in_one_process(measured, alone, cluster, command):
    data, uids = measured
    ended = command("reconstruct", *uids, *OPTIONS, "--scheduler", cluster.scheduler_address, "--data", data)
    assert ended.code == 0, ended.err
    assert "2 worker(s)" in ended.err
    for uid in uids:
        assert f"volume kept at /results/{uid}/volume" in ended.out
        assert f"{uid[:5]} alignment" in ended.err  # progress of each
        kept = results.load(data, uid, "volume")
        assert_same(kept.arrays["volume"], alone[uid])
        assert kept.metadata["voxel_um"] == 2.0
        drift = results.load(data, uid, "drift").arrays["view_shifts_px"]
        np.testing.assert_allclose(drift, alone[uid].geometry.view_shifts_px, atol=1e-4)


def test_a_killed_worker_does_not_lose_the_job(measured, alone, cluster, tmp_path, monkeypatch):
    data, (uid, _) = measured
    killed = []
    with Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)

    def kill_once(stage, share):
        busy = [address for address, worker in cluster.scheduler.workers.items() if worker.processing]
        if not killed and stage.endswith("reconstruction") and busy:
            killed.extend(busy)
            os.kill(pids[busy[0]], signal.SIGKILL)

    class Stages:
        __enter__ = staticmethod(lambda: kill_once)
        __exit__ = staticmethod(lambda *_: None)

    monkeypatch.setattr(on_dask, "stages", Stages)
    job = Job.of(uid, data, voxel_um=2.0, sweeps=2, checkpoint=tmp_path / "kept.h5")
    done = dict(on_dask.reconstruct_elsewhere(cluster.scheduler_address, {"it": job}, data, announce=str))
    assert len(killed) == 1
    assert isinstance(done["it"], Tomogram), done["it"]
    assert_same(done["it"].volume, alone[uid])
    assert not list(tmp_path.iterdir())  # the checkpoint went when the volume was there


def frames_of(data, uid):
    """Name of the file of a run's projections."""
    documents = [doc for part in Job.of(uid, data).documents for name, doc in part if name == "stream_resource"]
    return next(Path(doc["uri"]).name for doc in documents if "primary" in doc["uri"])


def test_a_run_that_fails_leaves_the_others(measured, cluster, command, tmp_path):
    data, (uid, other) = measured
    (frames,) = (data / "frames").rglob(frames_of(data, uid))
    frames.rename(tmp_path / "away.h5")
    try:
        ended = command("reconstruct", uid, other, *OPTIONS, "--scheduler", cluster.scheduler_address, "--data", data)
    finally:
        (tmp_path / "away.h5").rename(frames)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert f"1 of 2 runs failed: {uid[:8]}: " in line
    assert frames.name in line
    assert f"volume kept at /results/{other}/volume" in ended.out


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense://x"])
def test_no_scheduler(measured, command, monkeypatch, address):
    data, (uid, _) = measured
    monkeypatch.setattr(on_dask, "CONNECT_S", 0.5)
    address = address.format(port=free_port())
    ended = command("reconstruct", uid, "--scheduler", address, "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert f"no dask scheduler answers at {address}" in line


def test_no_worker(measured, command):
    data, (uid, _) = measured
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": ":0"}
    with SpecCluster({}, {"cls": Scheduler, "options": options}) as empty:
        ended = command("reconstruct", uid, "--scheduler", empty.scheduler_address, "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert "has no worker; start one: dask worker tcp://127.0.0.1" in line


def test_workers_that_will_not_do(cluster, tmp_path, monkeypatch):
    with Client(cluster, set_as_default=False) as client:
        with pytest.raises(RuntimeError, match=r"does not see the data root .*nowhere"):
            on_dask.check_workers(client, "tcp://there", tmp_path / "nowhere")
        monkeypatch.setattr(on_dask, "versions", lambda: dict.fromkeys(("Python", *on_dask.PACKAGES), "0.1"))
        with pytest.raises(RuntimeError, match=r"has Python 3\.\d+ \(here 0\.1\), .*the same versions are needed"):
            on_dask.check_workers(client, "tcp://there", tmp_path)


def test_a_worker_without_the_package(tmp_path):
    blind = {"preload": ["import sys; sys.modules['xrm_sims'] = None"]}
    with (
        LocalCluster(1, host="127.0.0.1", dashboard_address=":0", **blind) as running,
        Client(running, set_as_default=False) as client,
        pytest.raises(RuntimeError, match="cannot import this package"),
    ):
        on_dask.check_workers(client, "tcp://there", tmp_path)


def test_memory_of_a_worker(measured):
    data, (uid, _) = measured
    job = Job.of(uid, data)
    assert "the worker has 8 GB" in job.check_memory(8_000_000_000)
    with pytest.raises(ValueError, match=r"takes up to .* GB of memory and the worker has 0\.0 GB"):
        job.check_memory(1000)


def test_checkpoints_of_several_runs_have_a_folder(measured, command, tmp_path):
    data, uids = measured
    kept = tmp_path / "kept"
    ended = command(
        "reconstruct", *uids, *OPTIONS, "--no-correct", "--checkpoint", kept, "--out", tmp_path / "out", "--data", data
    )
    assert ended.code == 0, ended.err
    assert not list(kept.iterdir())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {uid[:8] for uid in uids}
