"""How a person or a scheduler stops a command: Ctrl-C (SIGINT) or a polite kill (SIGTERM), once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bluesky import RunEngine
from bluesky.utils import TransitionError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RETRY_S = 0.05


@contextmanager
def _handling(handler: Callable[..., Any]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def pausing_at_once(RE: RunEngine) -> Iterator[None]:
    """Meanwhile the first signal pauses the RunEngine where it stands, whatever it waits for, and further ones change
    nothing. The RunEngine's own handler waits for a checkpoint at the first and would need a second."""
    asked, over = threading.Event(), threading.Event()

    def pause() -> None:
        asked.wait()
        while not over.wait(_RETRY_S):
            try:
                RE.request_pause()
            except TransitionError:  # not running yet, or ending already
                continue
            return

    with ExitStack() as stack:
        silence = stack.enter_context(open(os.devnull, "w"))

        def on_signal(*_: object) -> None:
            sys.stdout = silence  # the RunEngine comments on pausing and aborting
            asked.set()

        stack.callback(setattr, sys, "stdout", sys.stdout)
        stack.callback(setattr, RE, "context_managers", RE.context_managers)
        RE.context_managers = []
        stack.enter_context(_handling(on_signal))
        watcher = threading.Thread(target=pause, name="stop-on-signal", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            asked.set()
            watcher.join()
