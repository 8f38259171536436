"""The whole instrument as one device tree, ``scope``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ophyd import Component, Device, Kind

from devices.columns import ElectronBeam, GalliumFIB, TargetManipulator
from devices.detectors import EDSDetector, SecondaryElectronDetector, WidePIX
from devices.drivers import Drivers
from devices.interlocks import Interlocks
from devices.quantity import Channel, Worker, quantity, readback
from devices.sector import MagneticSector
from devices.stages import RotationStage, SampleStage
from xrm_sims.settings import Settings

MODES = ("xray", "sem", "fib")


def _device(cls: type[Device], kind: Kind = Kind.normal) -> Component:
    return Component(cls, _NAMES[cls], kind=kind, add_prefix=())


_NAMES: dict[type[Device], str] = {
    ElectronBeam: "beam",
    TargetManipulator: "target",
    SampleStage: "stage",
    RotationStage: "rotation",
    WidePIX: "widepix",
    GalliumFIB: "fib",
    MagneticSector: "sector",
    SecondaryElectronDetector: "se",
    EDSDetector: "eds",
}


class Instrument(Device):
    """A FIB-SEM with X-ray nanoCT and magnetic-sector SIMS over one set of drivers.

    Reading it gives the state of everything (the baseline); the detectors contribute their configuration.
    While the RunEngine is paused both beams are blanked; resuming brings back the one that was on.

    Parameters
    ----------
    drivers : the digital twin or a lab's own, see ``devices.drivers``.
    settings : the instrument's fixed facts.
    frames_dir : folder of the frame files, one sub-folder per day.
    """

    mode = quantity("mode", choices=lambda s: MODES, key="mode")
    time_s = readback("time_s", egu="s", key="instrument_time_s")
    specimen = readback("specimen", key="specimen")
    chamber_pressure_pa = readback("chamber_pressure_pa", egu="Pa", key="chamber_pressure_pa")
    beam = _device(ElectronBeam)
    target = _device(TargetManipulator)
    stage_ = None
    rotation = _device(RotationStage)
    fib = _device(GalliumFIB)
    widepix = _device(WidePIX, Kind.config)
    sector = _device(MagneticSector, Kind.config)
    se = _device(SecondaryElectronDetector, Kind.config)
    eds = _device(EDSDetector, Kind.config)
