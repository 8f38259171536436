"""How a person or a scheduler stops a command: Ctrl-C (SIGINT), a polite kill (SIGTERM), a lost terminal (SIGHUP)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from bluesky import RunEngine

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RETRY_S = 0.05


class Interrupted(BaseException):
    """The user stopped it. Like KeyboardInterrupt no Exception: nothing on the way takes it for a failure."""


def stop_here(*_: object) -> NoReturn:
    """A signal handler where no plan runs."""
    raise Interrupted("interrupted")


def on_stop_signals(handler: Callable[..., Any]) -> dict[int, Any]:
    """Handle them all from now on, but those that are ignored (nohup); the handlers of before."""
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


@contextmanager
def _handling(handler: Callable[..., Any]) -> Iterator[None]:
    previous = on_stop_signals(handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def pausing_at_once(RE: RunEngine) -> Iterator[None]:
    """Meanwhile the first signal pauses the RunEngine where it stands, whatever it waits for, and further ones change
    nothing. The RunEngine's own handler waits for a checkpoint at the first and would need a second."""
    from bluesky.utils import TransitionError

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
