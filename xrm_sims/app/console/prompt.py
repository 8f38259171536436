"""How the prompt shows errors and plans that were not run, and completes names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from types import GeneratorType, TracebackType
from typing import Any

from bluesky.utils import FailedStatus, RunEngineInterrupted, TransitionError
from IPython.core.error import TryNext
from IPython.utils.generics import complete_object
from ophyd import Device, Signal

from plans import Preflight
from xrm_sims.app.common.errors import is_own, sentence

_SHORT_ERRORS = (
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    OSError,
    FailedStatus,
    RunEngineInterrupted,
    TransitionError,
)
_LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in ("bluesky", "ophyd"))
_WRONG_CALL = re.compile(r"(\w+)(\.__init__)?\(\) (missing|got|takes) ")
_DEVICE_METHODS = ("name", "read", "describe", "stop", "component_names")
_SIGNAL_METHODS = ("name", "get", "put", "set", "limits", "position", "read", "describe", "egu")


def set_up(shell: Any, names: dict[str, Any]) -> None:
    """Install this module in IPython's shell; the worker of a queue server has none."""
    if not hasattr(shell, "set_custom_exc"):
        return
    own_plans = {name for name, value in names.items() if callable(value)}
    shell.set_custom_exc(_SHORT_ERRORS, _error_printer(own_plans))
    plain = shell.display_formatter.formatters["text/plain"]
    plain.for_type(GeneratorType, _show_generator)
    plain.for_type(Preflight, lambda flight, printer, cycle: printer.text(str(flight)))


def _error_printer(own: set[str]) -> Callable[..., None]:
    """Return a handler that prints a refusal in one sentence; errors in the user's code keep their traceback."""

    def print_error(
        shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int | None = None
    ) -> None:
        if isinstance(error, RunEngineInterrupted):
            print(str(error).strip())
        elif isinstance(error, TypeError) and (call := _WRONG_CALL.match(str(error))) and call[1] in own:
            print(f"{error}; help({call[1]}) shows an example")
        elif isinstance(error, TypeError) and "function' object is not iterable" in str(error):
            print("RE needs a plan called with its arguments, RE(tomography(scope, num=60)), not the plan's name")
        elif isinstance(error, FailedStatus) or _refused(error, trace):
            print(sentence(error).removeprefix(f"{kind.__name__}: "))
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    return print_error


def _refused(error: BaseException, trace: TracebackType | None) -> bool:
    """Return whether this project or bluesky refused something, as opposed to an error in the code."""
    origin = _origin(trace)
    if is_own(origin):
        return not isinstance(error, (TypeError, AttributeError))
    return any(name in origin for name in _LIBRARIES)


def _origin(trace: TracebackType | None) -> str:
    """Return the source file that raised the error."""
    filename = ""
    while trace is not None:
        filename, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return filename


def _show_generator(generator: Any, printer: Any, cycle: bool) -> None:
    printer.text(f"{generator.__name__}: a plan that has not run; RE({generator.__name__}(...)) runs it")


@complete_object.register(Device)
def _complete_device(device: Device, words: list[str]) -> list[str]:
    """Complete the parts of a device, then its most used methods."""
    return [*device.component_names, *_DEVICE_METHODS]


@complete_object.register(Signal)
def _complete_signal(signal: Signal, words: list[str]) -> list[str]:
    if not words:
        raise TryNext
    return list(_SIGNAL_METHODS)
