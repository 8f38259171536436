"""The command reconstruct: reconstruct runs here or on a cluster, print and draw the results."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.tomography.cluster import reconstruct_elsewhere
from xrm_sims.app.tomography.figures import draw_tomogram
from xrm_sims.app.tomography.tomogram import Job, Tomogram, keep
from xrm_sims.data.figures import keep_figures


def _announce(line: str) -> None:
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
    """Reconstruct runs, print a summary of each, draw slices and drift.

    With several runs, each has a folder below ``out`` and a file below ``checkpoint``, and a run that fails does not
    stop the others. With ``scheduler``, the workers of dask.distributed at this address compute.

    Raises the error of a single run that failed, and ValueError with all messages when there are several runs.
    """
    several = len(uids) > 1
    failed: list[str] = []

    def place(folder: Path | None, name: str) -> Path | None:
        return None if folder is None else folder.absolute() / name if several else folder.absolute()

    if several and checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
    jobs = {
        uid: Job.of(uid, data, checkpoint=place(checkpoint, f"{uid[:8]}.h5"), **options) for uid in dict.fromkeys(uids)
    }
    if scheduler is None:
        outcomes = _reconstruct_here(jobs)
    else:
        outcomes = reconstruct_elsewhere(scheduler, jobs, data, announce=_announce)
    for uid, outcome in outcomes:
        if isinstance(outcome, Tomogram):
            keep(outcome, data, jobs[uid].options)
            report(outcome, data, place(out, outcome.uid[:8]))
        elif several:
            failed.append(f"{uid[:8]}: {in_one_line(outcome)}")
        else:
            raise outcome
    if failed:
        raise ValueError(f"{len(failed)} of {len(jobs)} runs failed: {'; '.join(failed)}")


def _reconstruct_here(jobs: Mapping[str, Job]) -> Iterator[tuple[str, Tomogram | Exception]]:
    """Yield the name of each job with its tomogram or its error."""
    for name, job in jobs.items():
        outcome: Tomogram | Exception
        try:
            outcome = job.run_here(_announce)
        except Exception as error:
            outcome = error
        yield name, outcome


def report(tomogram: Tomogram, data: Path | None, out: Path | None) -> None:
    """Print a summary; with a folder ``out``, also draw pictures and keep a copy of them in the data root."""
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
