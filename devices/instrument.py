"""The whole instrument as one device, ``scope``."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ophyd import Component, Device, Kind
from ophyd.status import Status

from devices.columns import ElectronBeam, GalliumFIB, TargetManipulator
from devices.conditions import Conditions
from devices.detectors import EDSDetector, SecondaryElectronDetector, WidePIX
from devices.drivers import Drivers
from devices.frames import FrameDevice
from devices.interlocks import STATE_FIELDS, Interlocks
from devices.quantity import Channel, DriverDevice, Quantity, Worker, quantity, readback
from devices.sector import MagneticSector
from devices.stages import RotationStage, SampleStage
from xrm_sims.settings import Settings

MODES = ("xray", "sem", "fib", "transfer")


D = TypeVar("D", bound=DriverDevice)


def _device(cls: type[D], driver: str, kind: Kind = Kind.normal) -> Component[D]:
    return Component(cls, driver, kind=kind, add_prefix=())


class Instrument(Device):
    """A FIB-SEM with X-ray nanoCT and magnetic-sector SIMS over one set of drivers.

    Its reading is the state of all parts (the baseline), with the configuration of the detectors. While the RunEngine
    is paused both beams are blanked; resuming unblanks the beam that was on.

    Parameters
    ----------
    drivers : the digital twin or a lab's own drivers, see ``devices.drivers``.
    settings : the instrument's fixed properties.
    frames_dir : folder for frame files, with a sub-folder per day.
    """

    mode = quantity("mode", choices=lambda s: MODES, key="mode")
    time_s = readback("time_s", egu="s", key="instrument_time_s")
    specimen = quantity("specimen", key="specimen")
    chamber_pressure_pa = readback("chamber_pressure_pa", egu="Pa", key="chamber_pressure_pa")
    beam = _device(ElectronBeam, "beam")
    target = _device(TargetManipulator, "target")
    specimen_stage = _device(SampleStage, "stage")
    rotation = _device(RotationStage, "rotation")
    fib = _device(GalliumFIB, "fib")
    widepix = _device(WidePIX, "widepix", Kind.config)
    sector = _device(MagneticSector, "sector", Kind.config)
    se = _device(SecondaryElectronDetector, "se", Kind.config)
    eds = _device(EDSDetector, "eds", Kind.config)

    def __init__(self, drivers: Drivers, settings: Settings, frames_dir: str | Path, name: str = "scope") -> None:
        self.drivers = drivers
        self.settings = settings
        self.frames_dir = Path(frames_dir).absolute()
        self.worker = Worker()
        self.interlocks = Interlocks(settings)
        self.conditions = Conditions(drivers, settings)
        self.channel = Channel(drivers.instrument, self.worker)
        self._on_before_pause: list[Quantity] = []
        super().__init__(name=name)
        signals = {signal.item.name: signal.item for signal in self.walk_signals()}
        self.interlocks.watch({name: signals[name] for name in STATE_FIELDS})

    @property
    def stage(self) -> SampleStage:
        """The sample stage; calling it, as Bluesky does, stages the instrument."""
        return self.specimen_stage

    @property
    def frame_devices(self) -> tuple[FrameDevice, ...]:
        return self.widepix, self.sector, self.se, self.eds

    def stop(self, success: bool = False) -> None:
        """End all moves and exposures."""
        self.channel.stop(success)
        for _, device in self.walk_subdevices():
            if isinstance(device, DriverDevice):
                device.channel.stop(success)

    def make_safe(self) -> list[str]:
        """Stop everything, blank both beams and wait for it. Returns which beams were on."""
        self.stop(success=True)
        beams = {"electron beam": self.beam.blanked, "ion beam": self.fib.blanked}
        found_on = [f"{name}: found on, now blanked" for name, blanked in beams.items() if not blanked.get()]
        for status in [blanked.set(True) for blanked in beams.values()]:
            status.wait()
        return found_on

    def emergency_stop(self) -> list[str]:
        """Stop everything, blank both beams and park the target, from any thread, also during a plan.

        Each step is tried even if the one before it failed; RuntimeError at the end if any failed. Returns what was
        done.
        """
        done, failed = [], []
        for step in (self.make_safe, self._park):
            try:
                done += step()
            except Exception as error:
                failed.append(str(error))
        if failed:
            raise RuntimeError(f"emergency stop: {'; '.join(failed)}")
        return done

    def _park(self) -> list[str]:
        at_um, park_um = float(self.target.x_um.get()), self.settings.target.park_x_um
        if at_um <= park_um:
            return []
        self.target.x_um.set(park_um).wait()
        return [f"target: stood at x = {at_um:g} um, now parked at x = {park_um:g} um"]

    def let_pass(self, seconds: float) -> Status:
        """Wait on the instrument's clock."""
        return self.channel.submit(self, lambda: self.drivers.instrument.let_pass(seconds))

    def pause(self) -> None:
        """Blank both beams and remember which was on. Called by the RunEngine."""
        self._on_before_pause += [q for q in (self.beam.blanked, self.fib.blanked) if not q.get()]
        self.make_safe()

    def resume(self) -> None:
        """Unblank the beam that was on before the pause. Called by the RunEngine.

        The interlocks are checked again. Beams stay blanked while bad conditions keep the plan suspended.
        """
        if self.conditions.on_trip is not None and self.conditions.complaint():
            return
        for blanker in self._on_before_pause:
            blanker.put(False)
        self._on_before_pause = []

    def close(self) -> None:
        """Close open frame files and end the worker thread."""
        for device in self.frame_devices:
            device.store.close()
        self.worker.close()
