"""Reconstruction on many machines: several runs by two workers against one process, and one run in slabs of z.

The runs are four imported scans of spheres at demo scale. One process with all cores reconstructs them one after the
other, then two worker processes share the cores; memory is the largest of one worker, with volume and libraries. For
slabs a volume of demo size is reconstructed as a whole, and in two halves that overlap only by a margin of slices.

python -m benchmarks.machines
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from numpy.typing import NDArray

import recon
from benchmarks.child import memory_mb
from benchmarks.recon_phantom import exact_projections, parallel_geometry, pillar_with_spheres, scan_geometry
from xrm_sims.app.tomography.cluster import reconstruct_elsewhere
from xrm_sims.app.tomography.tomogram import Job, Tomogram
from xrm_sims.exchange import import_file
from xrm_sims.exchange.importing import Choices
from xrm_sims.geometry import ConeGeometry

WIDTH, HEIGHT, VIEWS = 320, 64, 240  # a scan at demo scale, of fewer views
COUNTS = 1453.0
MARGINS = (2, 8, 16)
SWEEPS = 2
RUNS, WORKERS = 4, 2


def slab_of(
    p: NDArray[np.float32], geometry: ConeGeometry, first: int, last: int, margin: int
) -> tuple[NDArray[np.float32], ConeGeometry, int]:
    """Return rows and geometry of the slices ``first`` to ``last`` with a margin (cut at the ends of the volume), and
    the number of slices before ``first``. Voxels are pixels, without displacements."""
    slices, rows = geometry.volume_shape[0], geometry.detector_shape[0]
    low, high = max(first - margin, 0), min(last + margin, slices)
    middle_um = (0.5 * (low + high) - 0.5 * slices) * geometry.voxel_um
    pitch_um = geometry.pixel_mm * 1e3 / geometry.magnification
    where = 0.5 * (rows - 1) + middle_um / pitch_um - 0.5 * (low + high - 1)  # row of the slab's middle
    lower = replace(
        geometry,
        detector_shape=(high - low, geometry.detector_shape[1]),
        volume_shape=(high - low, *geometry.volume_shape[1:]),
        view_height_um=np.full(geometry.num_views, -middle_um),
        detector_offset_px=(where, 0.0),
    )
    return np.ascontiguousarray(p[:, low:high]), lower, first - low


def slabs() -> dict[int, dict[str, float]]:
    """Return by margin: ``cost``, time of both halves over that of the whole; ``rms`` and ``worst`` difference in the
    pillar in units of the noise of the whole; ``at_cut``, the rms in the two slices beside the cut."""
    rng = np.random.default_rng(1)
    geometry = scan_geometry(WIDTH, HEIGHT, VIEWS)
    exact = exact_projections(pillar_with_spheres(WIDTH, HEIGHT, seed=1), geometry)
    p = (-np.log(np.maximum(rng.poisson(COUNTS * np.exp(-exact)), 1) / COUNTS)).astype(np.float32)
    options = {"sweeps": SWEEPS, "support": 0.33 * WIDTH}
    recon.sart(p[:8, :16], scan_geometry(WIDTH, 16, 8), sweeps=1)
    began = time.perf_counter()
    whole = recon.sart(p, geometry, **options).volume
    whole_s = time.perf_counter() - began
    raw = recon.sart(p, geometry, tv=0.0, **options).volume
    noise = float(np.std(raw[12:-24, 150:170, 150:170]))
    found = {}
    for margin in MARGINS:
        began = time.perf_counter()
        halves = []
        for first, last in ((0, HEIGHT // 2), (HEIGHT // 2, HEIGHT)):
            rows, lower, skipped = slab_of(p, geometry, first, last, margin)
            halves.append(recon.sart(rows, lower, **options).volume[skipped : skipped + last - first])
        seconds = time.perf_counter() - began
        apart = np.concatenate(halves) - whole
        beside = apart[HEIGHT // 2 - 1 : HEIGHT // 2 + 1]
        found[margin] = {
            "cost": seconds / whole_s,
            "rms": float(np.sqrt((apart**2).mean())) / noise,
            "worst": float(np.abs(apart).max()) / noise,
            "at_cut": float(np.sqrt((beside**2).mean())) / noise,
        }
    return found


def _scanned(folder: Path, seed: int) -> Path:
    """Write a scan of spheres in DataExchange format."""
    geometry, path = parallel_geometry(WIDTH, HEIGHT, VIEWS), folder / f"{seed}.h5"
    exact = exact_projections(pillar_with_spheres(WIDTH, HEIGHT, seed), geometry)
    counts = np.random.default_rng(seed).poisson(COUNTS * np.exp(-exact))
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts.astype(np.float32)
        file["exchange/data_white"] = np.full((8, *geometry.detector_shape), COUNTS, np.float32)
        file["exchange/data_dark"] = np.zeros((2, *geometry.detector_shape), np.float32)
        file["exchange/theta"] = geometry.angles_deg
        file["exchange/theta"].attrs["units"] = "deg"
    return path


def runs() -> dict[str, float]:
    """Return ``alone_s`` and ``shared_s`` for all runs, ``apart``, the largest difference of a volume relative to its
    maximum, and ``peak_mb``, the largest memory of a worker."""
    from distributed import Client, LocalCluster

    cores = len(os.sched_getaffinity(0))
    cluster = LocalCluster(
        WORKERS, threads_per_worker=max(1, cores // WORKERS), host="127.0.0.1", dashboard_address=":0"
    )
    with TemporaryDirectory() as folder, cluster:
        data = Path(folder) / "data"
        uids = [import_file(_scanned(Path(folder), n), data, Choices(pixel_um=1.0)) for n in range(1, RUNS + 1)]
        jobs = {uid: Job.of(uid, data) for uid in uids}
        first = {uids[0]: jobs[uids[0]]}
        jobs[uids[0]].run(lambda stage, share: None)  # compiles, here and in the workers
        dict(reconstruct_elsewhere(cluster.scheduler_address, first, data, announce=str))
        began = time.perf_counter()
        alone = {uid: job.run(lambda stage, share: None) for uid, job in jobs.items()}
        middle = time.perf_counter()
        shared = dict(reconstruct_elsewhere(cluster.scheduler_address, jobs, data, announce=str))
        end = time.perf_counter()
        with Client(cluster, set_as_default=False) as client:
            peak_mb = max(client.run(memory_mb, "VmHWM").values())
    apart = 0.0
    for uid, tomogram in shared.items():
        assert isinstance(tomogram, Tomogram), tomogram
        apart = max(apart, float(np.abs(tomogram.volume - alone[uid].volume).max() / alone[uid].volume.max()))
    return {"alone_s": middle - began, "shared_s": end - middle, "apart": apart, "peak_mb": peak_mb}


if __name__ == "__main__":
    print(runs())
    for margin, found in slabs().items():
        print(margin, found)
