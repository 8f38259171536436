"""Drivers over Channel Access (pyepics) for ``xrm-sims ioc``, or for an IOC with the same names.

Counts do not cross the network: the server's file plugin writes them, and the client reads the file's name and the
frame's index. Server and client must share a file system.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from devices.drivers import HeldCounts, HeldFrame, Value
from xrm_sims.epics.names import BOOLEANS, FAILED, INSTRUMENT, REFUSED, frame_devices, quantities

_CONNECT_TIMEOUT_S = 30.0
_READ_TIMEOUT_S = 30.0
_POLL_S = 0.5


class EpicsDrivers:
    """The drivers of one instrument, with an attribute for each device.

    Raises RuntimeError when no server has this prefix.
    """

    instrument: EpicsInstrument
    beam: EpicsDriver
    target: EpicsDriver
    stage: EpicsDriver
    rotation: EpicsDriver
    widepix: EpicsDetector
    fib: EpicsIonBeam
    sector: EpicsDetector
    se: EpicsDetector
    eds: EpicsDetector

    def __init__(self, prefix: str) -> None:
        special = {INSTRUMENT: EpicsInstrument, "fib": EpicsIonBeam} | dict.fromkeys(frame_devices(), EpicsDetector)
        self._drivers = {
            name: special.get(name, EpicsDriver)(prefix + name, settable) for name, settable in quantities().items()
        }
        for driver in self._drivers.values():
            driver.connect()
        vars(self).update(self._drivers)

    def close(self) -> None:
        """Disconnect from the server; the instrument keeps its state."""
        for driver in self._drivers.values():
            driver.close()


class EpicsDriver:
    """Named quantities of one device; ``settable`` lists them and whether they can be set.

    ``extra`` names further process variables of a class of devices.
    """

    extra: tuple[str, ...] = ()

    def __init__(self, name: str, settable: Mapping[str, bool]) -> None:
        self.name = name
        self._closed = threading.Event()
        self._stops = 0
        self._variables: dict[str, Any] = {}
        for quantity, can_be_set in settable.items():
            self._add(f"{quantity}_RBV")
            if can_be_set:
                self._add(quantity)
        self._add("Stop", "Message", *self.extra)

    def connect(self) -> None:
        """Wait until all variables are connected."""
        for variable in self._variables.values():
            if not variable.wait_for_connection(timeout=_CONNECT_TIMEOUT_S):
                raise RuntimeError(
                    f"EPICS: no server answers for {variable.pvname}; start xrm-sims ioc, or check EPICS_CA_ADDR_LIST"
                )

    def get(self, name: str) -> Value:
        """Read a quantity from the server, not from the cache. Raises RuntimeError when it does not answer."""
        variable = self._variables.get(f"{name}_RBV")
        if variable is None:
            raise ValueError(f"{self.name}: has no quantity {name!r}")
        return _to_python_value(variable, self._read(variable))

    def put(self, name: str, value: Value) -> None:
        """Set a quantity and wait for it. Raises ValueError when the server refuses, RuntimeError when it fails."""
        variable = self._variables.get(name)
        if variable is None:
            raise ValueError(f"{self.name}: has no quantity {name!r} that can be set")
        self.command(name, _to_channel_value(variable, value))

    def stop(self) -> None:
        self._stops += 1
        self._variables["Stop"].put(1)

    def command(self, name: str, value: Any = 1) -> None:
        """Put a value and wait, without time limit, until the server has completed it; raises as ``put``."""
        variable, finished, stops = self._variables[name], threading.Event(), self._stops
        if variable.put(value, use_complete=True, callback=lambda **_: finished.set()) is None:
            raise RuntimeError(f"EPICS: {variable.pvname} is not connected")
        while not finished.wait(_POLL_S) and variable.connected and not self._closed.is_set():
            if self._stops != stops:  # the first Stop may have arrived before the command
                self._variables["Stop"].put(1)
        if not variable.connected:
            raise RuntimeError(
                f"EPICS: the server of {variable.pvname} disconnected; the result of the command is unknown"
            )
        message = _text(self._read(self._variables["Message"]))
        if message.startswith(REFUSED):
            raise ValueError(message.removeprefix(REFUSED))
        if message:
            raise RuntimeError(message.removeprefix(FAILED))

    def close(self) -> None:
        import epics

        self._closed.set()
        for variable in self._variables.values():
            variable.disconnect()
            epics.ca.clear_channel(variable.chid)  # else libca continues to search for it

    def _add(self, *names: str) -> None:
        import epics

        for name in names:
            self._variables[name] = epics.PV(f"{self.name}:{name}", auto_monitor=False)

    def _read(self, variable: Any) -> Any:
        import epics

        try:
            value = variable.get(use_monitor=False, timeout=_READ_TIMEOUT_S)
        except (epics.ca.ChannelAccessException, epics.ca.ChannelAccessGetFailure):
            value = None
        if value is None:
            raise RuntimeError(f"EPICS: {variable.pvname} does not answer; check the server")
        return value


class EpicsInstrument(EpicsDriver):
    """Mode, clock and chamber."""

    extra = ("LetPassS",)

    def let_pass(self, seconds: float) -> None:
        self.command("LetPassS", seconds)


class EpicsIonBeam(EpicsDriver):
    """Gallium FIB; patterns are sent as JSON."""

    extra = ("Mill", "Deposit", "PassDoseNC_RBV", "PassSeconds_RBV")

    def mill_pass(self, pattern: dict[str, Any]) -> dict[str, float]:
        return self._draw("Mill", pattern)

    def deposit_pass(self, pattern: dict[str, Any]) -> dict[str, float]:
        return self._draw("Deposit", pattern)

    def _draw(self, command: str, pattern: dict[str, Any]) -> dict[str, float]:
        self.command(command, _char_array(json.dumps(pattern)))
        return {"dose_nc": float(self.get("PassDoseNC")), "seconds": float(self.get("PassSeconds"))}


class EpicsDetector(EpicsDriver):
    """A device that takes frames; the server keeps their counts."""

    extra = (
        *("Acquire", "StartedS_RBV", "StoppedS_RBV", "CurrentNA_RBV", "ArraySize_RBV"),
        *("HDF1:FilePath", "HDF1:FileName", "HDF1:Capture", "HDF1:WriteFile"),
        *("HDF1:FullFileName_RBV", "HDF1:NumCaptured_RBV"),
    )

    def __init__(self, name: str, settable: Mapping[str, bool]) -> None:
        super().__init__(name, settable)
        if name.endswith("widepix"):
            self._add("BadPixels_RBV")

    def take(self) -> HeldFrame:
        """Take a frame; the server holds it until a :meth:`frame_writer` writes it."""
        self.command("Acquire")
        shape = np.atleast_1d(self._read(self._variables["ArraySize_RBV"]))
        started_s, stopped_s, current_na = (float(self.get(name)) for name in ("StartedS", "StoppedS", "CurrentNA"))
        return HeldFrame(HeldCounts(tuple(int(n) for n in shape)), started_s, stopped_s, current_na)

    expose = raster_frame = image = take

    def bad_pixels(self) -> NDArray[np.bool_]:
        bad = np.zeros((int(self.get("rows")), int(self.get("columns"))), bool)
        bad.flat[np.atleast_1d(self._read(self._variables["BadPixels_RBV"])).astype(int)] = True
        return bad

    def frame_writer(
        self,
        path: Path,
        dataset: str,
        frame_shape: tuple[int, ...],
        dtype: DTypeLike,
        attributes: Mapping[str, Any] | None = None,
    ) -> RemoteFile:
        """Return a new file that the server writes, with the methods of :class:`~xrm_sims.data.frames.FrameWriter`."""
        return RemoteFile(self, Path(path), dataset, frame_shape)


class RemoteFile:
    """One file of the server's plugin; ``append`` makes the server write the frame that it holds."""

    def __init__(self, detector: EpicsDetector, path: Path, dataset: str, frame_shape: tuple[int, ...]) -> None:
        self._detector = detector
        self._requested_path = path
        self.count = 0
        self._set_file_name()
        detector.command("HDF1:Capture")
        self.path = Path(_text(detector._read(detector._variables["HDF1:FullFileName_RBV"])))
        self.parameters = {"dataset": dataset, "chunk_shape": [1, *frame_shape], "swmr": True}

    @property
    def uri(self) -> str:
        return "file://localhost" + self.path.as_posix()

    def append(self, frame: Any) -> int:
        """Write the held frame to the server's disk and return its index in the file."""
        self._set_file_name()
        self._detector.command("HDF1:WriteFile")
        self.count = int(self._detector.get("HDF1:NumCaptured"))
        return self.count - 1

    def close(self) -> None:
        self._set_file_name()
        self._detector.command("HDF1:Capture", 0)

    def _set_file_name(self) -> None:
        self._detector.command("HDF1:FilePath", _char_array(str(self._requested_path.parent)))
        self._detector.command("HDF1:FileName", _char_array(self._requested_path.name))


def _to_python_value(variable: Any, value: Any) -> Value:
    kind = variable.type.removeprefix("time_")
    if kind == "enum":
        labels = variable.enum_strs
        label = labels[int(value)]
        return label == BOOLEANS[1] if tuple(labels) == BOOLEANS else str(label)
    if kind == "char":
        return _text(value)
    return int(value) if kind in ("long", "int", "short") else float(value)


def _to_channel_value(variable: Any, value: Value) -> Any:
    kind = variable.type.removeprefix("time_")
    if kind == "char":
        return _char_array(str(value))
    if kind != "enum":
        return value
    labels = list(variable.enum_strs)
    label = BOOLEANS[bool(value)] if tuple(labels) == BOOLEANS else str(value)
    if label not in labels:
        raise ValueError(f"{variable.pvname}: needs one of {', '.join(labels)}, got {value!r}")
    return labels.index(label)


def _text(value: Any) -> str:
    return bytes(np.atleast_1d(value).astype(np.uint8)).split(b"\0")[0].decode()


def _char_array(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode() + b"\0", np.uint8)
