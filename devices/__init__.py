"""Ophyd devices over the driver protocols of ``devices.drivers``."""

from devices.instrument import Instrument
from devices.interlocks import InterlockError

__all__ = ["Instrument", "InterlockError"]
