"""Stop a command by Ctrl-C (SIGINT), by kill (SIGTERM) or when its terminal closes (SIGHUP)."""

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
    """The user stopped the command. Like KeyboardInterrupt it is no Exception, so that no handler of errors catches it.

    One that is raised while another is handled has the message of the first.
    """

    def __str__(self) -> str:
        return str(self.__context__) if isinstance(self.__context__, Interrupted) else super().__str__()


def stop_here(*_: object) -> NoReturn:
    """Handle a signal when no plan is running."""
    raise Interrupted("interrupted")


def on_stop_signals(handler: Callable[..., Any]) -> dict[int, Any]:
    """Handle all stop signals that are not ignored (nohup); return the previous handlers."""
    handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


@contextmanager
def _handling(handler: Callable[..., Any]) -> Iterator[set[int]]:
    """Handle the stop signals inside the context; yield their numbers."""
    previous = on_stop_signals(handler)
    try:
        yield set(previous)
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def pausing_at_once(RE: RunEngine) -> Iterator[None]:
    """Inside the context, the first stop signal pauses the RunEngine at once; further ones do nothing.

    The RunEngine's own handler waits for a checkpoint at the first signal and needs a second one. A thread reads the
    signals from Python's wake-up descriptor, because the main thread does not run its handlers when a signal arrives
    just before it starts to wait for a lock.
    """
    from bluesky.utils import TransitionError

    over = threading.Event()

    def pause() -> None:
        while (number := receiver.recv(1)) and number[0] not in handled:
            continue
        if number:
            sys.stdout = silence  # the RunEngine prints while pausing and aborting
        while not over.wait(_RETRY_S):
            try:
                RE.request_pause()
            except TransitionError:  # not running yet, or ending already
                continue
            return

    with ExitStack() as stack:
        silence = stack.enter_context(open(os.devnull, "w"))
        receiver, sender = (stack.enter_context(end) for end in socket.socketpair())
        sender.setblocking(False)
        stack.callback(setattr, sys, "stdout", sys.stdout)
        stack.callback(setattr, RE, "context_managers", RE.context_managers)
        RE.context_managers = []
        handled = stack.enter_context(_handling(lambda *_: None))
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=pause, name="stop-on-signal", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            over.set()
            sender.close()
            watcher.join()
