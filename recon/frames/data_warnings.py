"""Warnings about frames and readings that are missing, doubled or unusable."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

MAX_SHOWN = 8


def format_list(numbers: Iterable[float], unit: str = "") -> str:
    """Return the first eight numbers as text, and how many more there are."""
    shown = [f"{number:g}" for number in numbers]
    more = f" and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
    return ", ".join(shown[:MAX_SHOWN]) + unit + more


def warn(message: str) -> None:
    """Warn whoever called the library."""
    warnings.warn(message, UserWarning, stacklevel=4)
