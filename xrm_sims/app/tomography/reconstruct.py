"""The command reconstruct: runs to volumes here or on a cluster, what came out in words and pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.common.progress import stages
from xrm_sims.app.tomography.cluster import reconstruct_elsewhere
from xrm_sims.app.tomography.figures import draw_tomogram
from xrm_sims.app.tomography.tomogram import Job, Tomogram, keep
from xrm_sims.data.figures import keep_figures


def _aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def reconstruct_runs(
    uids: Sequence[str],
    *,
    data: Path | None,
    out: Path | None = None,
    checkpoint: Path | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> None:
    """The command: reconstruct, say of each run what came out, draw slices and drift.

    Of several runs each has a folder of its own below ``out``, and a file below ``checkpoint``. With ``scheduler`` the
    workers of dask.distributed at this address do the work. What fails does not keep the others from being done.

    Raises ValueError or RuntimeError in the words of the run that failed, of all of them where several did.
    """
    several = len(uids) > 1
    failed: list[str] = []

    def own(folder: Path | None, name: str) -> Path | None:
        return None if folder is None else folder.absolute() / name if several else folder.absolute()

    if several and checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
    places = {uid: own(checkpoint, f"{uid[:8]}.h5") for uid in dict.fromkeys(uids)}
    jobs = {uid: Job.of(uid, data, checkpoint=place, **options) for uid, place in places.items()}
    outcomes = _one_by_one(jobs) if scheduler is None else reconstruct_elsewhere(scheduler, jobs, data, announce=_aside)
    for uid, outcome in outcomes:
        if isinstance(outcome, Tomogram):
            keep(outcome, data, jobs[uid].options)
            tell(outcome, data, own(out, outcome.uid[:8]))
        elif several:
            failed.append(f"{uid[:8]}: {in_one_line(outcome)}")
        else:
            raise outcome
    if failed:
        raise ValueError(f"{len(failed)} of {len(places)} runs failed: {'; '.join(failed)}")


def _one_by_one(jobs: Mapping[str, Job]) -> Iterator[tuple[str, Tomogram | Exception]]:
    """In this process: the name of each with what came out, or what went wrong."""
    for name, job in jobs.items():
        try:
            _aside(job.memory_said())
            with stages() as progress:
                tomogram = job.run(progress)
        except Exception as error:
            yield name, error
        else:
            yield name, tomogram


def tell(tomogram: Tomogram, data: Path | None, out: Path | None) -> None:
    """Say what came out; draw it where ``out`` is a folder, and keep the pictures in the data root too."""
    print(tomogram.geometry)
    print(f"residual per sweep: {', '.join(f'{r:.4f}' for r in tomogram.residuals)} (line integral, rms)")
    if tomogram.resolution is not None:
        print(f"edge resolution: {tomogram.resolution}")
    if out is not None:
        pictures = draw_tomogram(tomogram, out)
        keep_figures(data, tomogram.uid, pictures)
        for path in pictures:
            print(path)
    print(f"volume kept at /results/{tomogram.uid}/volume")
