"""Quantities of a driver as Ophyd signals, and the thread that calls the drivers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ophyd import Component, Device, Kind, Signal
from ophyd.status import Status
from ophyd.utils import LimitError, ReadOnlyError

from devices.conditions import Conditions
from devices.drivers import Value
from devices.interlocks import Interlocks
from xrm_sims.settings import Settings

Limits = Callable[[Settings], tuple[float, float]]
Choices = Callable[[Settings], Sequence[str | int]]


class Held(Exception):  # noqa: N818 (nothing failed)
    """The call has ended but its status stays open, because the plan is suspended and will repeat the call."""


class Worker:
    """The thread that makes all driver calls of one instrument, one after another."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="instrument")
        self.lock = threading.RLock()

    def submit(self, job: Callable[[], None]) -> None:
        self._pool.submit(job)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Channel:
    """Access to one driver through the worker: queued calls, reading without waiting, stopping from any thread."""

    def __init__(self, driver: Any, worker: Worker) -> None:
        self.driver = driver
        self._worker = worker
        self._guard = threading.Lock()
        self._pending = 0
        self._stops = 0
        self._stopped_on_purpose = True
        self._held: list[Status] = []
        self._stops_at_submit: int | None = None  # of the running call; None when it is not stoppable

    def submit(self, owner: Any, call: Callable[[], None], *, stoppable: bool = True) -> Status:
        """Queue a call. The status fails with its error, except when it was stopped with ``success``.

        A call that is not ``stoppable`` is made even if a stop comes before its turn.
        """
        status = Status(owner)
        with self._guard:
            stops = self._stops
            self._pending += 1

        def job() -> None:
            error: Exception | None = None
            try:
                with self._worker.lock:
                    self._stops_at_submit = stops if stoppable else None
                    self.check_going(owner)
                    call()
            except Held:
                with self._guard:
                    self._held.append(status)
                return
            except Exception as raised:
                error = raised
            with self._guard:
                self._pending -= 1
                ended_on_purpose = self._stops != stops and self._stopped_on_purpose
            if error is None or ended_on_purpose:
                status.set_finished()
            else:
                status.set_exception(error)

        self._worker.submit(job)
        return status

    def check_going(self, owner: Any) -> None:
        """RuntimeError when the running call was stopped before it reached the hardware.

        Called again after slow checks, for example over a network.
        """
        if self._stops_at_submit is not None and self._stops != self._stops_at_submit:
            raise RuntimeError(f"{owner.name}: stopped before it began")

    def read(self, call: Callable[[], Any], last: Any) -> Any:
        """Return the driver's value, or the last known one while the worker is busy: never waits for an exposure."""
        if not self._worker.lock.acquire(blocking=False):
            return last
        try:
            return call()
        finally:
            self._worker.lock.release()

    def stop(self, success: bool) -> None:
        """End pending calls; with ``success`` their statuses finish instead of failing."""
        with self._guard:
            if not self._pending:
                return
            self._stopped_on_purpose = success
            self._stops += 1
            held, self._held = self._held, []
            self._pending -= len(held)
        for status in held:
            if success:
                status.set_finished()
            else:
                status.set_exception(RuntimeError(f"{status.obj.name}: stopped while the plan was suspended"))
        self.driver.stop()


class DriverDevice(Device):
    """A device over the instrument's driver of the same name, ``prefix``."""

    def __init__(self, prefix: str = "", *, name: str, parent: Any, **kwargs: Any) -> None:
        self.settings: Settings = parent.settings
        self.interlocks: Interlocks = parent.interlocks
        self.conditions: Conditions = parent.conditions
        self.worker: Worker = parent.worker
        self.channel = Channel(getattr(parent.drivers, prefix), parent.worker)
        super().__init__(prefix, name=prefix, parent=parent, **kwargs)

    def stop(self, success: bool = False) -> None:
        self.channel.stop(success)


def done(owner: Any) -> Status:
    """Return a finished status."""
    status = Status(owner)
    status.set_finished()
    return status


class Quantity(Signal):
    """A quantity of a driver, with unit, limits and interlocks.

    Parameters
    ----------
    quantity : its name in the driver, unit included ("current_na").
    egu : unit for people; empty for text and switches.
    limits : settings -> (low, high), inclusive.
    choices : settings -> the allowed words or numbers.
    key : name in documents, if it is not ``<device>_<attribute>``.

    ``set`` raises LimitError, ValueError or InterlockError before anything moves. The status fails with the driver's
    message.
    """

    def __init__(
        self,
        quantity: str,
        *,
        name: str,
        parent: Any,
        egu: str = "",
        limits: Limits | None = None,
        choices: Choices | None = None,
        key: str = "",
        read_only: bool = False,
        **kwargs: Any,
    ) -> None:
        self.quantity = quantity
        self.channel: Channel = parent.channel
        self.interlocks: Interlocks = parent.interlocks
        self.egu = egu
        self._span = limits(parent.settings) if limits else None
        self.choices = tuple(choices(parent.settings)) if choices else ()
        value = self.channel.driver.get(quantity)
        super().__init__(name=key or name, parent=parent, value=value, **kwargs)
        self._metadata["write_access"] = not read_only

    def get(self, **kwargs: Any) -> Any:
        self._readback: Any = self.channel.read(lambda: self.channel.driver.get(self.quantity), self._readback)
        self._metadata["timestamp"] = time.time()
        return self._readback

    @property
    def position(self) -> Any:
        return self.get()

    @property
    def limits(self) -> tuple[float, float]:
        return self._span or (0, 0)

    def check_value(self, value: Any) -> Value:
        """Return the value in the driver's type. Raises ValueError or LimitError with the unit in the message."""
        if not self.write_access:
            raise ReadOnlyError(f"{self.name}: can only be read")
        if isinstance(self._readback, bool):
            if value not in (True, False):
                raise ValueError(f"{self.name}: needs True or False, got {value!r}")
            return bool(value)
        if isinstance(self._readback, str):
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise ValueError(f"{self.name}: needs {_one_of(self.choices)}, got {value!r}")
            return value
        return self._check_number(value)

    def _check_number(self, value: Any) -> float | int:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{self.name}: needs a number{self._in_unit}, got {value!r}") from None
        if not math.isfinite(number):
            raise ValueError(f"{self.name}: needs a finite number{self._in_unit}, got {value}")
        if self.choices and number not in self.choices:
            raise ValueError(f"{self.name}: needs {_one_of(self.choices)}{self._in_unit}, got {value}")
        if self._span and not self._span[0] <= number <= self._span[1]:
            low, high = self._span
            raise LimitError(f"{self.name}: {number:g} {self.egu} is outside {low:g} to {high:g} {self.egu}".strip())
        if isinstance(self._readback, int):
            if number != int(number):
                raise ValueError(f"{self.name}: needs a whole number, got {value}")
            return int(number)
        return number

    @property
    def _in_unit(self) -> str:
        return f" in {self.egu}" if self.egu else ""

    def set(self, value: Any, **_: Any) -> Status:
        value = self.check_value(value)
        self.interlocks.check_change(self, value)
        stoppable = not self.interlocks.blanks(self, value)
        return self.channel.submit(self, lambda: self._move(value), stoppable=stoppable)

    def _move(self, value: Value) -> None:
        self.interlocks.check_change(self, value)  # earlier moves may have changed the state
        self.channel.check_going(self)
        self.channel.driver.put(self.quantity, value)
        Signal.put(self, self.channel.driver.get(self.quantity), force=True)

    def put(self, value: Any, **_: Any) -> None:
        self.set(value).wait()

    def stop(self, success: bool = False) -> None:
        self.channel.stop(success)

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        entry = described[self.name]
        entry["source"] = f"driver:{self.parent.name}.{self.quantity}"
        if self.egu:
            entry["units"] = self.egu
        if self._span:
            entry["limits"] = {"control": {"low": float(self._span[0]), "high": float(self._span[1])}}
        if self.choices:
            entry["choices"] = [str(choice) for choice in self.choices]
        return described


def _one_of(choices: Sequence[str | int]) -> str:
    return f"one of {', '.join(map(str, choices))}" if choices else "text"


def quantity(name: str, *, kind: Kind = Kind.normal, **kwargs: Any) -> Component[Quantity]:
    """Return a component for a quantity of a DriverDevice."""
    return Component(Quantity, name, kind=kind, add_prefix=(), **kwargs)


def setting(name: str, **kwargs: Any) -> Component[Quantity]:
    """Return a component for a quantity in the device's configuration."""
    return quantity(name, kind=Kind.config, **kwargs)


def readback(name: str, *, kind: Kind = Kind.normal, **kwargs: Any) -> Component[Quantity]:
    """Return a component for a read-only quantity."""
    return quantity(name, kind=kind, read_only=True, **kwargs)
