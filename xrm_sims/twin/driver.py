"""What every simulated device is: a handful of named quantities with units and limits, and a few commands.

``put`` returns when the quantity has got there and the state is on disk. It raises ValueError when it refuses (nothing
moved) and RuntimeError when it was stopped on the way (whatever happened until then has happened and is kept).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Settings
from xrm_sims.twin.simulator import Simulator
from xrm_sims.twin.state_store import Value


@dataclass(frozen=True)
class Frame:
    """What a detector or a scan generator hands back, with the instrument's own time and beam current."""

    counts: NDArray[np.generic]
    started_s: float
    stopped_s: float
    current_na: float


@dataclass(frozen=True)
class Quantity:
    """One thing that can be set: how it starts, its unit, and what it may become."""

    initial: Value
    unit: str = ""
    limits: tuple[float, float] = (-sys.float_info.max, sys.float_info.max)
    choices: tuple[Value, ...] = ()
    per_s: float | None = None  # speed of a motor; everything else changes at once

    def accept(self, name: str, value: Any) -> Value:
        """``value`` as a plain Python value of the right kind; ValueError names what was given and what is needed."""
        given = value.item() if isinstance(value, np.generic) else value
        if not isinstance(given, (bool, int, float, str)):
            raise ValueError(f"{name}: needs a single value, got {type(given).__name__}")
        if self.choices:
            if isinstance(given, bool) or given not in self.choices:
                raise ValueError(f"{name}: needs one of {', '.join(map(str, self.choices))}, got {given!r}")
            return self.choices[self.choices.index(given)]
        if isinstance(self.initial, bool):
            if isinstance(given, str) or given not in (0, 1):
                raise ValueError(f"{name}: needs True or False, got {given!r}")
            return bool(given)
        if isinstance(self.initial, str):
            if not isinstance(given, str):
                raise ValueError(f"{name}: needs text, got {given!r}")
            return given
        return self._number(name, given)

    def _number(self, name: str, given: Any) -> Value:
        whole = isinstance(self.initial, int)
        kind = "a whole number" if whole else "a finite number"
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not abs(given) <= sys.float_info.max:
            raise ValueError(f"{name}: needs {kind}{_in(self.unit)}, got {given!r}")
        if whole and given != int(given):
            raise ValueError(f"{name}: needs {kind}, got {given!r}")
        low, high = self.limits
        if not low <= given <= high:
            raise ValueError(f"{name}: needs {low:.6g} to {high:.6g} {self.unit}".rstrip() + f", got {given:.6g}")
        return int(given) if whole else float(given)


class Driver:
    """Named quantities over the simulator; a subclass says which there are and what its commands do."""

    name: ClassVar[str]

    def __init__(self, simulator: Simulator):
        self._simulator = simulator
        self._quantities = dict(self.quantities(simulator.settings))
        self._readings = dict(self.readings())
        self._halt = threading.Event()
        kept = simulator.state.values.setdefault(self.name, {})
        for name, quantity in self._quantities.items():
            kept.setdefault(name, quantity.initial)

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        """What can be set and is kept."""
        return {}

    def readings(self) -> Mapping[str, Callable[[], Value]]:
        """What can only be read."""
        return {}

    @property
    def values(self) -> dict[str, Any]:
        """The quantities as they stand."""
        return self._simulator.state.values[self.name]

    def get(self, name: str) -> Value:
        """A quantity or reading; ValueError naming what exists."""
        if name in self._readings:
            return self._readings[name]()
        if name in self._quantities:
            return self.values[name]
        raise self._unknown(name)

    def put(self, name: str, value: Any) -> None:
        """Bring a quantity to a value; see the module for what it raises."""
        if name in self._readings:
            raise ValueError(f"{self.name}.{name}: can only be read")
        if name not in self._quantities:
            raise self._unknown(name)
        accepted = self._quantities[name].accept(f"{self.name}.{name}", value)
        self.check(name, accepted)
        with self.command():
            self.reach(name, accepted)

    def stop(self) -> None:
        """End a call that waits, from any thread; without one it does nothing."""
        self._halt.set()

    def check(self, name: str, value: Any) -> None:
        """Refuse, by ValueError, a value that its limits allow and the other quantities do not."""

    def reach(self, name: str, value: Any) -> None:
        """Make it so, in the time it takes."""
        speed = self._quantities[name].per_s
        if speed is not None:
            start = self.values[name]
            self.wait(abs(value - start) / speed, lambda share: self._arrive(name, start + share * (value - start)))
        self._arrive(name, value)

    def _arrive(self, name: str, value: Value) -> None:
        self.values[name] = value

    @contextmanager
    def command(self) -> Iterator[None]:
        """One command: nobody else's meanwhile, and on disk when it is over."""
        with self._simulator.command():
            self._halt.clear()
            yield

    def wait(
        self, seconds: float, when_stopped: Callable[[float], None] = lambda share: None, *, fib_parked: bool = True
    ) -> None:
        """Let twin time pass; RuntimeError when stopped, after ``when_stopped`` was told the share that passed."""
        passed = self._simulator.let_pass(seconds, self._halt, fib_parked=fib_parked)
        if passed < seconds:
            when_stopped(passed / seconds)
            raise RuntimeError(f"{self.name}: stopped after {passed:.4g} s of {seconds:.4g} s")

    def _unknown(self, name: str) -> ValueError:
        known = sorted([*self._quantities, *self._readings])
        return ValueError(f"{self.name}: has no quantity {name!r}; it has {', '.join(known) or 'none'}")


def _in(unit: str) -> str:
    return f" of {unit}" if unit else ""
