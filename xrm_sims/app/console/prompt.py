"""How the prompt takes mistakes, completes names and shows plans that were not run."""

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

_HEARD = (
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    OSError,
    FailedStatus,
    RunEngineInterrupted,
    TransitionError,
)
_MACHINERY = tuple(f"{os.sep}{name}{os.sep}" for name in ("bluesky", "ophyd"))
_CALLED_WRONGLY = re.compile(r"(\w+)(\.__init__)?\(\) (missing|got|takes) ")
_OF_A_DEVICE = ("name", "read", "describe", "stop", "component_names")
_OF_A_SIGNAL = ("name", "get", "put", "set", "limits", "position", "read", "describe", "egu")


def set_up(shell: Any, names: dict[str, Any]) -> None:
    """Everything of this module, for IPython's shell; nothing for the dummy that a queue server's worker has."""
    if not hasattr(shell, "set_custom_exc"):
        return
    own_plans = {name for name, value in names.items() if callable(value)}
    shell.set_custom_exc(_HEARD, _teller(own_plans))
    plain = shell.display_formatter.formatters["text/plain"]
    plain.for_type(GeneratorType, _show_generator)
    plain.for_type(Preflight, lambda flight, printer, cycle: printer.text(str(flight)))


def _teller(own: set[str]) -> Callable[..., None]:
    """What is refused is said in one sentence; errors of the user's own code keep their traceback."""

    def tell(
        shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int | None = None
    ) -> None:
        if isinstance(error, RunEngineInterrupted):
            print(str(error).strip())
        elif isinstance(error, TypeError) and (call := _CALLED_WRONGLY.match(str(error))) and call[1] in own:
            print(f"{error}; help({call[1]}) shows an example")
        elif isinstance(error, TypeError) and "function' object is not iterable" in str(error):
            print(
                "RE runs a plan that was called with what it needs, RE(tomography(scope, num=60)), not the plan's name"
            )
        elif isinstance(error, FailedStatus) or _refused(error, trace):
            print(sentence(error).removeprefix(f"{kind.__name__}: "))
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    return tell


def _refused(error: BaseException, trace: TracebackType | None) -> bool:
    """Whether this project, or bluesky for it, said no; a slip in its code is no refusal."""
    origin = _origin(trace)
    if is_own(origin):
        return not isinstance(error, (TypeError, AttributeError))
    return any(name in origin for name in _MACHINERY)


def _origin(trace: TracebackType | None) -> str:
    """Source file that raised."""
    filename = ""
    while trace is not None:
        filename, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return filename


def _show_generator(generator: Any, printer: Any, cycle: bool) -> None:
    printer.text(f"{generator.__name__}: a plan that nothing has run; RE({generator.__name__}(...)) runs it")


@complete_object.register(Device)
def _parts_first(device: Device, words: list[str]) -> list[str]:
    """After a device's dot: its parts, and the few things one does with it."""
    return [*device.component_names, *_OF_A_DEVICE]


@complete_object.register(Signal)
def _what_one_does(signal: Signal, words: list[str]) -> list[str]:
    if not words:
        raise TryNext
    return list(_OF_A_SIGNAL)
