"""Checks of arguments; each error is one sentence."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
_NEEDED = {  # by the first word of pydantic's error types
    **{"int": "a whole number", "float": "a number", "bool": "true or false"},
    **dict.fromkeys(("tuple", "list"), "a list"),
    **dict.fromkeys(("model", "dict"), "a table"),
}


def finite(**values: float) -> None:
    """ValueError unless every value is a finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{name}: needs a finite number, got {value!r}")


def positive(**values: float) -> None:
    """ValueError unless every value is a finite number above 0."""
    finite(**values)
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name}: needs a number above 0, got {value}")


def count(least: int, **values: int) -> None:
    """ValueError unless every value is a whole number of at least ``least``."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}: needs a whole number of at least {least}, got {value!r}")


def settable(given: Mapping[str, Any], target: Callable[..., Any], what: str, leave_out: Sequence[str] = ()) -> None:
    """ValueError when ``given`` has an unknown name, a value of the wrong type, or lacks a parameter of ``target``.

    Parameters in ``leave_out`` must not be given.
    """
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    parameters = {name: p for name, p in inspect.signature(target).parameters.items() if name not in leave_out}
    for name, value in given.items():
        if name not in parameters:
            raise ValueError(f"{name}: {what} has no such setting{did_you_mean(name, list(parameters))}")
        try:
            TypeAdapter(hints.get(name, Any)).validate_python(value)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            raise ValueError(f"{name}: needs {in_words(found)}, got {shortened(value)}") from None
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ValueError(f"{what} needs {name}, which is missing")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"


def shortened(value: Any, most: int = 60) -> str:
    """Return a value on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]}…"


def in_words(found: Mapping[str, Any]) -> str:
    """Return what is needed instead, from one of pydantic's errors."""
    limits = found.get("ctx", {})
    return {
        "string_too_short": "some text",
        "string_too_long": f"at most {limits.get('max_length')} letters",
        "string_pattern_mismatch": "one line of text",
        "string_type": "text",
        "less_than_equal": f"at most {limits.get('le')}",
        "greater_than_equal": f"at least {limits.get('ge')}",
        "literal_error": f"one of {limits.get('expected')}",
        "too_short": f"at least {limits.get('min_length')} entries",
        "too_long": f"at most {limits.get('max_length')} entries",
        "missing": "more entries",
        "is_instance_of": "a list",
    }.get(found["type"], _NEEDED.get(found["type"].partition("_")[0], str(found["msg"])))


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """ValueError unless ``value`` is one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name}: needs one of {', '.join(allowed)}, got {value!r}")


def pair(name: str, value: Sequence[T]) -> tuple[T, T]:
    """Return two values as a tuple; ValueError for anything else."""
    if isinstance(value, str) or not isinstance(value, Iterable) or len(tuple(value)) != 2:
        raise ValueError(f"{name}: needs two numbers, got {value!r}")
    return value[0], value[1]
