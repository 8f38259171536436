"""Reconstruct on many machines: each run is one task of dask.distributed.

Only the calling process reads documents and keeps results, so the catalogue has one writer. A worker reads the frames
from a shared file system and returns the volume. It runs one reconstruction at a time, on as many cores as it has
threads. When a worker dies, another one repeats its task, from the checkpoint if there is one.
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
POLL_S = 10.0  # between two checks of the workers
ABSENT_S = 60.0  # without any worker; a nanny restarts a worker in less time
PACKAGES = ("xrm-sims", "dask", "distributed", "numpy", "numba")  # need the same version on all machines
_RETRY = "finished volumes are kept; run the command again for the other runs"
_one_at_a_time = threading.Lock()  # in a worker


@dataclass(frozen=True)
class Worker:
    """State of a worker: package versions, whether it can read the data root, number of threads."""

    versions: dict[str, str]
    sees_data: bool
    threads: int


def reconstruct_elsewhere(
    scheduler: str, jobs: Mapping[str, Job], data: Path | None, *, announce: Callable[[str], None]
) -> Iterator[tuple[str, Tomogram | Exception]]:
    """Yield the name of each job with its tomogram or its error, in the order of completion.

    Parameters
    ----------
    scheduler : address of dask.distributed's scheduler, ``tcp://host:8786``.
    jobs : by name.
    data : data root, which all workers need at the same path.
    announce : called with a line about the workers.

    Raises RuntimeError when distributed is not installed, no scheduler answers, there is no worker, a worker lacks the
    package, has other versions or cannot read the data root, and when the connection is lost.
    """
    with _client(scheduler) as client:
        workers = check_workers(client, scheduler, data_root(data))
        threads = ", ".join(f"{worker.threads}" for worker in workers.values())
        announce(f"{len(workers)} worker(s) at {scheduler} with {threads} thread(s)")
        with stages() as progress:
            yield from _distribute(client, scheduler, jobs, progress)


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise RuntimeError("--scheduler needs dask.distributed: pip install 'xrm-sims[distributed]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # this module reports the errors
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise RuntimeError(
            f"no dask scheduler answers at {scheduler} ({_one_line(error)}); start one: dask scheduler"
        ) from None
    try:
        yield client
    finally:
        client.close()


def check_workers(client: Any, scheduler: str, root: Path) -> dict[str, Worker]:
    """Return the state of each worker by address. Errors as for :func:`reconstruct_elsewhere`."""
    found = client.run(_describe, str(root), on_error="return")
    if not found:
        raise RuntimeError(f"the scheduler at {scheduler} has no worker; start one: dask worker {scheduler}")
    own = versions()
    for address, worker in found.items():
        if isinstance(worker, BaseException) and "No module named" in _one_line(
            worker
        ):  # distributed may wrap the error
            raise RuntimeError(
                f"worker {address} cannot import this package ({_one_line(worker)}); "
                "install it there: pip install 'xrm-sims[distributed]'"
            )
        if isinstance(worker, BaseException):
            raise RuntimeError(f"worker {address} cannot be used ({_one_line(worker)})")
        if other := [f"{n} {v} (here {own[n]})" for n, v in worker.versions.items() if v != own.get(n)]:
            raise RuntimeError(f"worker {address} has {', '.join(other)}; the same versions are needed everywhere")
        if not worker.sees_data:
            raise RuntimeError(
                f"worker {address} does not see the data root {root}; workers read the frames there, so all machines "
                "need it at the same path of a shared file system"
            )
    return dict(found)


def versions() -> dict[str, str]:
    """Return the versions of Python (major.minor) and of ``PACKAGES`` in this process."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python} | {name: importlib.metadata.version(name) for name in PACKAGES}


def _describe(root: str, dask_worker: Any) -> Worker:
    """Return the state of the worker that runs this function; distributed passes ``dask_worker``."""
    return Worker(versions(), Path(root).is_dir(), dask_worker.state.nthreads)


def _distribute(
    client: Any, scheduler: str, jobs: Mapping[str, Job], progress: Progress
) -> Iterator[tuple[str, Tomogram | Exception]]:
    """Submit no more jobs than there are workers, so that the next job goes to the first free worker."""
    from distributed import wait

    topic, waiting = f"xrm-sims-{uuid4().hex}", list(jobs)
    running: dict[Any, str] = {}
    client.subscribe_topic(topic, lambda event: progress(*event[1]))
    last_seen = time.monotonic()
    while waiting or running:
        workers = len(client.scheduler_info()["workers"])
        last_seen = time.monotonic() if workers else last_seen
        if time.monotonic() > last_seen + ABSENT_S:
            raise RuntimeError(f"all workers of the scheduler at {scheduler} are gone; {_RETRY}")
        for name in waiting[: max(0, workers - len(running))]:
            running[client.submit(reconstruct_here, jobs[name], topic, pure=False)] = name
            waiting.remove(name)
        try:
            with client.as_current():  # only here, because the catalogue writes with dask too
                done, _ = wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED")
        except TimeoutError:  # workers may have come or gone
            continue
        except Exception as error:
            raise _scheduler_gone(scheduler, error) from None
        for future in done:
            yield running.pop(future), _outcome(future, scheduler)


def _outcome(future: Any, scheduler: str) -> Tomogram | Exception:
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    try:
        tomogram, messages = future.result()
    except CancelledError as error:
        raise _scheduler_gone(scheduler, error) from None
    except KilledWorker as error:
        return RuntimeError(
            f"{error.allowed_failures + 1} workers died on it, the last at {error.last_worker.address}; "
            "give each more memory (dask worker --memory-limit), or choose larger voxels (--voxel-um)"
        )
    except Exception as error:
        return error
    finally:
        future.release()
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=2)
    return tomogram  # type: ignore[no-any-return]


def reconstruct_here(job: Job, topic: str) -> tuple[Tomogram, list[str]]:
    """Run a job on a worker; return the tomogram and the warnings."""
    import numba
    from distributed import get_worker

    worker = get_worker()
    key, last = worker.get_current_task(), (0.0, "")

    def report(stage: str, share: float) -> None:
        nonlocal last
        if worker.state.tasks[key].state != "executing":
            raise RuntimeError("this reconstruction was cancelled")
        if (now := (round(share, 2), stage)) != last:
            worker.log_event(topic, (f"{job.uid[:5]} {stage}", share))
            last = now

    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if worker.memory_manager.memory_limit is not None:
            job.check_memory(worker.memory_manager.memory_limit)
        numba.set_num_threads(min(worker.state.nthreads, numba.get_num_threads()))
        tomogram = job.run(report)
    return tomogram, [str(one.message) for one in caught if issubclass(one.category, UserWarning)]


def _scheduler_gone(scheduler: str, error: BaseException) -> RuntimeError:
    return RuntimeError(f"the scheduler at {scheduler} is gone ({_one_line(error)}); {_RETRY}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
