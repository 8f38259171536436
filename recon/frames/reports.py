"""How data that are not what they should be are named."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

SHOWN = 8


def listed(numbers: Iterable[float], unit: str = "") -> str:
    """The first eight, and how many more."""
    shown = [f"{number:g}" for number in numbers]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + unit + more


def report(message: str) -> None:
    """A warning to whoever called the library."""
    warnings.warn(message, UserWarning, stacklevel=4)
