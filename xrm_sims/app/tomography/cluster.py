"""Reconstruction on many machines: one run is one task of dask.distributed.

The console reads the documents and keeps the results, so that one process alone writes to the catalogue; a worker reads
the frames through the file system that it shares with the console, and sends the volume back. A worker has one
reconstruction at a time, on as many cores as it has threads. What a worker that died had begun, another one begins
again, from its checkpoint where there is one.
"""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from recon.kernels.progress import Progress
from xrm_sims.app.common.progress import stages
from xrm_sims.app.tomography.tomogram import Job, Tomogram
from xrm_sims.data.layout import data_root

CONNECT_S = 10.0
LOOK_S = 10.0  # between looks at who is there
ABSENT_S = 60.0  # without any worker: one whose nanny starts it again is back by then
PACKAGES = ("xrm-sims", "dask", "distributed", "numpy", "numba")  # whose versions have to be the same everywhere
_AGAIN = "volumes that had come back are kept, name the other runs again"
_one_at_a_time = threading.Lock()  # in a worker


@dataclass(frozen=True)
class Worker:
    """What a worker says of itself; ``sees`` whether the data root is there, ``limit`` bytes of memory or None."""

    versions: dict[str, str]
    sees: bool
    threads: int
    limit: int | None


def reconstruct_elsewhere(
    scheduler: str, jobs: Mapping[str, Job], data: Path | None, *, announce: Callable[[str], None]
) -> Iterator[tuple[str, Tomogram | Exception]]:
    """The name of each job with its tomogram, or with what went wrong, as they are done.

    Parameters
    ----------
    scheduler : address of dask.distributed's, ``tcp://host:8786``.
    jobs : by name; data : the root that all workers have to see at the same path.
    announce : hears who is going to do it.

    Raises
    ------
    RuntimeError in one sentence: distributed is not installed, no scheduler answers, it has no worker, a worker lacks
    the package, has other versions or does not see the data root, or the scheduler is gone.
    """
    with _client(scheduler) as client:
        workers = look_at_workers(client, scheduler, data_root(data))
        threads = ", ".join(f"{worker.threads}" for worker in workers.values())
        announce(f"{len(workers)} worker(s) at {scheduler} with {threads} thread(s)")
        with stages() as progress:
            yield from _shared_out(client, scheduler, jobs, progress)


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise RuntimeError("--scheduler needs dask.distributed: pip install 'xrm-sims[distributed]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is said here
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise RuntimeError(
            f"no dask scheduler answers at {scheduler} ({_words(error)}); start one: dask scheduler"
        ) from None
    try:
        yield client
    finally:
        client.close()


def look_at_workers(client: Any, scheduler: str, root: Path) -> dict[str, Worker]:
    """What all workers say of themselves, by address; errors as for :func:`reconstruct_elsewhere`."""
    found = client.run(_look, str(root), on_error="return")
    if not found:
        raise RuntimeError(f"the scheduler at {scheduler} has no worker; start one: dask worker {scheduler}")
    own = versions()
    for address, worker in found.items():
        if isinstance(worker, BaseException) and "No module named" in _words(worker):  # also wrapped by distributed
            raise RuntimeError(
                f"worker {address} cannot import this package ({_words(worker)}); "
                "install it there: pip install 'xrm-sims[distributed]'"
            )
        if isinstance(worker, BaseException):
            raise RuntimeError(f"worker {address} does not answer as it should ({_words(worker)})")
        if other := [f"{n} {v} (here {own[n]})" for n, v in worker.versions.items() if v != own.get(n)]:
            raise RuntimeError(f"worker {address} has {', '.join(other)}; the same versions are needed everywhere")
        if not worker.sees:
            raise RuntimeError(
                f"worker {address} does not see the data root {root}; workers read the frames there, through a file "
                "system that all machines have at the same path"
            )
    return dict(found)


def versions() -> dict[str, str]:
    """Of this process: Python to its second number, and ``PACKAGES``."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python} | {name: importlib.metadata.version(name) for name in PACKAGES}


def _look(root: str, dask_worker: Any) -> Worker:
    """Runs on a worker, which distributed hands in under this name."""
    limit = dask_worker.memory_manager.memory_limit
    return Worker(versions(), Path(root).is_dir(), dask_worker.state.nthreads, limit)


def _shared_out(
    client: Any, scheduler: str, jobs: Mapping[str, Job], progress: Progress
) -> Iterator[tuple[str, Tomogram | Exception]]:
    """No more jobs at a time than there are workers: a job that waits can still go to whoever is free first."""
    from distributed import wait

    topic, waiting = f"xrm-sims-{uuid4().hex}", list(jobs)
    running: dict[Any, str] = {}
    client.subscribe_topic(topic, lambda event: progress(*event[1]))
    last_seen = time.monotonic()
    while waiting or running:
        workers = len(client.scheduler_info()["workers"])
        last_seen = time.monotonic() if workers else last_seen
        if time.monotonic() > last_seen + ABSENT_S:
            raise RuntimeError(f"all workers of the scheduler at {scheduler} are gone; {_AGAIN}")
        for name in waiting[: max(0, workers - len(running))]:
            running[client.submit(reconstruct_here, jobs[name], topic, pure=False)] = name
            waiting.remove(name)
        try:
            with client.as_current():  # here alone: elsewhere it would take what the catalogue has dask write
                done, _ = wait(list(running), timeout=LOOK_S, return_when="FIRST_COMPLETED")
        except TimeoutError:  # somebody may have come or gone
            continue
        except Exception as error:
            raise _scheduler_gone(scheduler, error) from None
        for future in done:
            yield running.pop(future), _outcome(future, scheduler)


def _outcome(future: Any, scheduler: str) -> Tomogram | Exception:
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    try:
        tomogram, said = future.result()
    except CancelledError as error:
        raise _scheduler_gone(scheduler, error) from None
    except KilledWorker as error:
        return RuntimeError(
            f"its workers died, {error.allowed_failures + 1} in all, the last at {error.last_worker.address}; give "
            "each more memory (dask worker --memory-limit), or choose larger voxels (--voxel-um)"
        )
    except Exception as error:
        return error
    finally:
        future.release()
    for message in said:
        warnings.warn(message, UserWarning, stacklevel=2)
    return tomogram  # type: ignore[no-any-return]


def reconstruct_here(job: Job, topic: str) -> tuple[Tomogram, list[str]]:
    """Runs on a worker: the tomogram, and what was warned of on the way."""
    import numba
    from distributed import get_worker

    worker = get_worker()
    key, last = worker.get_current_task(), (0.0, "")

    def report(stage: str, share: float) -> None:
        nonlocal last
        if worker.state.tasks[key].state != "executing":
            raise RuntimeError("nobody waits for this reconstruction any more")
        if (now := (round(share, 2), stage)) != last:
            worker.log_event(topic, (f"{job.uid[:5]} {stage}", share))
            last = now

    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if worker.memory_manager.memory_limit is not None:
            job.memory_said(worker.memory_manager.memory_limit)
        numba.set_num_threads(min(worker.state.nthreads, numba.get_num_threads()))
        tomogram = job.run(report)
    return tomogram, [str(one.message) for one in caught if issubclass(one.category, UserWarning)]


def _scheduler_gone(scheduler: str, error: BaseException) -> RuntimeError:
    return RuntimeError(f"the scheduler at {scheduler} is gone ({_words(error)}); {_AGAIN}")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
