"""Arguments refused in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeVar

T = TypeVar("T")


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


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """ValueError unless ``value`` is one of the words allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: needs one of {', '.join(allowed)}, got {value!r}")


def pair(name: str, value: Sequence[T]) -> tuple[T, T]:
    """Two values as a tuple; ValueError for any other number of them."""
    if len(value) != 2:
        raise ValueError(f"{name}: needs two numbers, got {value!r}")
    return value[0], value[1]
