"""Names of the process variables of server and client.

``<prefix><device>:<quantity>`` sets, ``..._RBV`` reads. Every device has ``Busy``, ``Stop`` and ``Message``. A put with
completion ends when the hardware has finished; ``Message`` is then empty, ``refused: ...`` or ``failed: ...``. Devices
that take frames have ``Acquire``, and ``HDF1:`` like areaDetector's file plugin.
"""

from __future__ import annotations

from collections.abc import Iterator

from devices.frames import FrameDevice
from devices.instrument import Instrument
from devices.quantity import DriverDevice, Quantity

INSTRUMENT = "instrument"  # driver of the instrument itself
REFUSED, FAILED = "refused: ", "failed: "
BOOLEANS = ("False", "True")
TEXT_BYTES = 4096  # maximum length of a message, a path or a pattern
DATASET = "/entry/data/data"  # where areaDetector's file plugin puts its frames


def quantities() -> dict[str, dict[str, bool]]:
    """Return device -> quantity -> whether it can be set."""
    table = {INSTRUMENT: dict(_of(Instrument))}
    for _, component in Instrument._sig_attrs.items():
        if issubclass(component.cls, DriverDevice):
            table[component.suffix] = dict(_of(component.cls))
    return table


def frame_devices() -> list[str]:
    """Return the names of devices that take frames."""
    return [c.suffix for c in Instrument._sig_attrs.values() if issubclass(c.cls, FrameDevice)]


def _of(cls: type, prefix: str = "") -> Iterator[tuple[str, bool]]:
    for attribute, component in cls._sig_attrs.items():  # type: ignore[attr-defined]
        if issubclass(component.cls, Quantity):
            yield prefix + component.suffix, not component.kwargs.get("read_only", False)
        elif not issubclass(component.cls, DriverDevice) and hasattr(component.cls, "_sig_attrs"):
            yield from _of(component.cls, attribute)  # a collector's quantities begin with its name
