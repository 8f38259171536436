"""How a person or a scheduler stops a command: Ctrl-C (SIGINT), a polite kill (SIGTERM), a lost terminal (SIGHUP)."""

from __future__ import annotations

import os
import signal
import socket
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
    """The user stopped it. Like KeyboardInterrupt no Exception: nothing on the way takes it for a failure.

    Impatience changes no words: one that comes while another is on its way says what the first said.
    """

    def __str__(self) -> str:
        return str(self.__context__) if isinstance(self.__context__, Interrupted) else super().__str__()


def stop_here(*_: object) -> NoReturn:
    """A signal handler where no plan runs."""
    raise Interrupted("interrupted")


def on_stop_signals(handler: Callable[..., Any]) -> dict[int, Any]:
    """Handle them all from now on, but those that are ignored (nohup); the handlers of before."""
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


@contextmanager
def _handling(handler: Callable[..., Any]) -> Iterator[set[int]]:
    """The numbers of the signals that are handled meanwhile."""
    previous = on_stop_signals(handler)
    try:
        yield set(previous)
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def pausing_at_once(RE: RunEngine) -> Iterator[None]:
    """Meanwhile the first signal pauses the RunEngine where it stands, whatever it waits for, and further ones change
    nothing. The RunEngine's own handler waits for a checkpoint at the first and would need a second.

    A thread hears of signals through Python's wake-up descriptor: the main thread does not run its handlers when one
    comes just before it begins to wait for a lock.
    """
    from bluesky.utils import TransitionError

    over = threading.Event()

    def pause() -> None:
        while (number := ear.recv(1)) and number[0] not in heard:
            continue
        if number:
            sys.stdout = silence  # the RunEngine comments on pausing and aborting
        while not over.wait(_RETRY_S):
            try:
                RE.request_pause()
            except TransitionError:  # not running yet, or ending already
                continue
            return

    with ExitStack() as stack:
        silence = stack.enter_context(open(os.devnull, "w"))
        ear, mouth = (stack.enter_context(end) for end in socket.socketpair())
        mouth.setblocking(False)
        stack.callback(setattr, sys, "stdout", sys.stdout)
        stack.callback(setattr, RE, "context_managers", RE.context_managers)
        RE.context_managers = []
        heard = stack.enter_context(_handling(lambda *_: None))
        before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=pause, name="stop-on-signal", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            over.set()
            mouth.close()
            watcher.join()
