"""Protocols for the parts of an instrument that plans use; ``devices.Instrument`` fulfils :class:`Scope`.

All members are read-only properties, so that a device may return a more specific type than its protocol names. A plan
that needs a further quantity adds it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bluesky.protocols import Flyable, Movable, Preparable, Readable, Stageable, Stoppable, Triggerable

from xrm_sims.settings import Settings

T = TypeVar("T")


class Quantity(Readable[T], Movable[T], Protocol[T]):
    """A value that can be read and set; its name ends in its unit."""

    def get(self) -> T: ...
    def check_value(self, value: T) -> object:
        """Raise ValueError when the quantity cannot be set to this value."""

    @property
    def limits(self) -> tuple[float, float]: ...


Values = Mapping[Quantity[Any], Any]  # what to set each quantity to


class Column(Protocol):
    """A beam with its column."""

    @property
    def voltage_kv(self) -> Quantity[float]: ...
    @property
    def blanked(self) -> Quantity[bool]: ...


class ElectronBeam(Column, Protocol):
    @property
    def current_na(self) -> Quantity[float]: ...
    @property
    def probe_nm(self) -> Quantity[float]: ...


class Target(Protocol):
    """The X-ray target on its manipulator."""

    @property
    def x_um(self) -> Quantity[float]: ...
    @property
    def y_um(self) -> Quantity[float]: ...
    @property
    def z_um(self) -> Quantity[float]: ...
    @property
    def material(self) -> Quantity[str]: ...


class Stage(Protocol):
    @property
    def z_um(self) -> Quantity[float]: ...
    @property
    def tilt_deg(self) -> Quantity[float]: ...
    @property
    def bias_v(self) -> Quantity[float]: ...


class Rotation(Readable[Any], Protocol):
    @property
    def angle_deg(self) -> Quantity[float]: ...


class Triggered(Readable[Any], Stageable, Preparable, Triggerable, Protocol):
    """Takes the prepared frame, or draws the prepared pass, when it is triggered."""


class WidePIX(Triggered, Protocol):
    @property
    def exposure_s(self) -> Quantity[float]: ...
    @property
    def threshold_kev(self) -> Quantity[float]: ...
    @property
    def binning(self) -> Quantity[int]: ...


class ScanField(Protocol):
    """The field that a beam scans."""

    @property
    def fov_um(self) -> Quantity[float]: ...
    @property
    def rows(self) -> Quantity[int]: ...
    @property
    def columns(self) -> Quantity[int]: ...
    @property
    def centre_u_um(self) -> Quantity[float]: ...
    @property
    def centre_v_um(self) -> Quantity[float]: ...


class ScanningDetector(Triggered, ScanField, Protocol):
    """A detector that takes an image while a beam scans a field."""


class SecondaryElectrons(ScanningDetector, Protocol):
    @property
    def source(self) -> Quantity[str]: ...
    @property
    def dwell_us(self) -> Quantity[float]: ...


class EDS(ScanningDetector, Protocol):
    @property
    def elements(self) -> Quantity[str]: ...
    @property
    def dwell_ms(self) -> Quantity[float]: ...


class IonBeam(Column, Triggered, ScanField, Protocol):
    @property
    def current_pa(self) -> Quantity[float]: ...
    @property
    def dwell_ms(self) -> Quantity[float]: ...
    @property
    def dose_nc(self) -> Readable[float]: ...
    @property
    def scan_dose_nc(self) -> Readable[float]: ...


class Collector(Protocol):
    """One ion detector of the sector."""

    @property
    def radius_mm(self) -> Quantity[float]: ...


class Sector(Readable[Any], Stageable, Preparable, Flyable, Stoppable, Protocol):
    """The magnetic sector; one kickoff takes one raster frame."""

    @property
    def collectors(self) -> Sequence[Collector]: ...
    def channels(self) -> list[dict[str, Any]]:
        """Return label, mass_u and radius_mm of each collector."""

    def radii_for(self, channels: Sequence[str | float], bias_v: float) -> list[float]:
        """Return the collectors' radii in mm for isotopes or masses in u. Raise ValueError when one is out of reach."""


class Scope(Readable[Any], Protocol):
    """The whole instrument."""

    @property
    def settings(self) -> Settings: ...
    @property
    def frames_dir(self) -> Path: ...
    @property
    def mode(self) -> Quantity[str]: ...
    @property
    def specimen(self) -> Quantity[str]: ...
    @property
    def time_s(self) -> Readable[float]: ...
    @property
    def beam(self) -> ElectronBeam: ...
    @property
    def target(self) -> Target: ...
    @property
    def stage(self) -> Stage: ...
    @property
    def rotation(self) -> Rotation: ...
    @property
    def widepix(self) -> WidePIX: ...
    @property
    def fib(self) -> IonBeam: ...
    @property
    def sector(self) -> Sector: ...
    @property
    def se(self) -> SecondaryElectrons: ...
    @property
    def eds(self) -> EDS: ...
