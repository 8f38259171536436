"""A volume of the run that is being taken right now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from recon.documents import TomographyConsumer
from recon.prepared import prepare
from recon.runs import Reconstruction, reconstruct


class LiveReconstruction:
    """Subscribe it to a RunEngine: it gathers each tomography run and reconstructs it in a thread when it ends.

    >>> live = LiveReconstruction()
    >>> RE.subscribe(live)
    >>> RE(tomography(scope))
    >>> live.result().volume

    Parameters
    ----------
    on_result : called in that thread with each finished :class:`Reconstruction`.
    options : for :func:`from_run`.
    """

    def __init__(self, on_result: Callable[[Reconstruction], None] | None = None, **options: Any) -> None:
        self._on_result = on_result
        self._options = options
        self._consumer: TomographyConsumer | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reconstruction")
        self._latest: Future[Reconstruction] | None = None
        self._started = threading.Event()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._consumer = TomographyConsumer() if doc.get("scan_type") == "tomography" else None
        if self._consumer is None:
            return
        self._consumer(name, doc)
        if name == "stop":
            consumer, self._consumer = self._consumer, None
            if doc.get("num_events", {}).get("primary", 0):
                self._latest = self._pool.submit(self._reconstruct, consumer)
                self._started.set()

    def result(self, timeout_s: float | None = None) -> Reconstruction:
        """The reconstruction of the last run that ended, when it is done; its error if it failed.

        Raises TimeoutError when no run has ended within ``timeout_s``.
        """
        if not self._started.wait(timeout_s) or self._latest is None:
            raise TimeoutError("no tomography run has ended yet")
        return self._latest.result(timeout_s)

    def _reconstruct(self, consumer: TomographyConsumer) -> Reconstruction:
        done = reconstruct(prepare([consumer.scan()], self._options.get("progress")), **self._options)
        if self._on_result is not None:
            self._on_result(done)
        return done
