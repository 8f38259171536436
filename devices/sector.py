"""The magnetic sector: four collectors that count in parallel, and the flyer for rasters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from bluesky.utils import NoReplayAllowed
from ophyd import Component, Device, Kind
from ophyd.status import Status

from devices import masses
from devices.drivers import Frame
from devices.frames import FrameDevice
from devices.quantity import Quantity, done, setting


def _of_collector(name: str, **kwargs: Any) -> Component[Quantity]:
    """Return a component for a quantity of a collector, in the driver for example ``collector_1_radius_mm``."""
    return Component(Quantity, f"_{name}", kind=Kind.config, **kwargs)


class IonCollector(Device):
    """One detector on the focal plane. ``set`` moves it to a mass in u; ``mass_u`` and ``label`` follow the radius."""

    radius_mm = _of_collector("radius_mm", egu="mm", limits=lambda s: s.sector.radius_limits_mm)
    dead_time_ns = _of_collector("dead_time_ns", egu="ns", read_only=True)
    dark_rate_cps = _of_collector("dark_rate_cps", egu="1/s", read_only=True)

    def __init__(self, prefix: str = "", *, name: str, parent: Any, **kwargs: Any) -> None:
        self.settings, self.interlocks, self.channel = parent.settings, parent.interlocks, parent.channel
        super().__init__(prefix, name=name, parent=parent, **kwargs)

    @property
    def mass_u(self) -> float:
        """Mass at this radius with the present field, bias and extraction voltage."""
        return masses.mass_u(float(self.radius_mm.get()), self.parent.voltage_v, self.parent.field_t.get())

    @property
    def label(self) -> str:
        return masses.label(self.mass_u, self.settings.sector.resolving_power)

    def set(self, mass_u: float) -> Status:
        """Move to a mass. ValueError when it is out of range or too close to another collector."""
        sector, field_t = self.parent, self.parent.field_t.get()
        others = [c.mass_u for c in sector.collectors if c is not self]
        return self.radius_mm.set(
            masses.collector_radii_mm([mass_u, *others], sector.voltage_v, field_t, self.settings.sector)[0]
        )

    def read_configuration(self) -> dict[str, Any]:
        now = time.time()
        return super().read_configuration() | {
            f"{self.name}_mass_u": {"value": self.mass_u, "timestamp": now},
            f"{self.name}_label": {"value": self.label, "timestamp": now},
        }

    def describe_configuration(self) -> dict[str, Any]:
        source = f"driver:{self.name}"
        return super().describe_configuration() | {
            f"{self.name}_mass_u": {"source": source, "dtype": "number", "shape": [], "units": "u"},
            f"{self.name}_label": {"source": source, "dtype": "string", "shape": []},
        }

    def stop(self, success: bool = False) -> None:
        self.channel.stop(success)


def _collector(number: int) -> Component[IonCollector]:
    return Component(IonCollector, f"collector_{number}", kind=Kind.config, add_prefix=())


class MagneticSector(FrameDevice):
    """Mass spectrometer and flyer for rasters: counts (channel, row, column), one kickoff per frame.

    ``prepare(Slot)`` → ``kickoff`` → ``complete`` → ``collect``. Each frame is on disk before its stream datum. A
    rewound plan never takes a frame twice.
    """

    frame_key = "sector_counts"

    field_t = setting("field_t", egu="T", limits=lambda s: s.sector.field_limits_t)
    extraction_v = setting("extraction_v", egu="V", limits=lambda s: s.sector.extraction_limits_v)
    slit_mm = setting("slit_mm", egu="mm", limits=lambda s: s.sector.slit_limits_mm)
    collector_1 = _collector(1)
    collector_2 = _collector(2)
    collector_3 = _collector(3)
    collector_4 = _collector(4)

    def __init__(self, prefix: str = "", *, name: str, parent: Any, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, parent=parent, **kwargs)
        self._raster: Status | None = None
        self._collected = False

    def stage(self) -> list[object]:
        self._raster, self._collected = None, False
        return super().stage()

    def prepare(self, next_frame: tuple[str, int] | None) -> Status:
        """Set the next frame, (stream, index), or None for no frame."""
        self._collected = False
        return done(self) if next_frame is None else super().prepare(next_frame)

    def pause(self) -> None:
        """Forbid a rewind between collecting a frame and preparing the next one.

        Collecting again would count a frame without a new datum.
        """
        if self._collected:
            raise NoReplayAllowed

    @property
    def collectors(self) -> tuple[IonCollector, ...]:
        return self.collector_1, self.collector_2, self.collector_3, self.collector_4

    @property
    def voltage_v(self) -> float:
        """Acceleration voltage of the ions: stage bias plus extraction."""
        return float(self.parent.stage.bias_v.get()) + float(self.extraction_v.get())

    def channels(self) -> list[dict[str, Any]]:
        """Return label, mass_u and radius_mm of each collector."""
        return [
            {"label": c.label, "mass_u": round(c.mass_u, 4), "radius_mm": float(c.radius_mm.get())}
            for c in self.collectors
        ]

    def radii_for(self, channels: Sequence[str | float], bias_v: float) -> list[float]:
        """Return radii in mm, ascending, for isotopes ("6Li") or masses in u at a stage bias.

        ValueError unless there is one for each collector, and as of :func:`masses.collector_radii_mm`.
        """
        if len(channels) != len(self.collectors):
            raise ValueError(f"channels: needs {len(self.collectors)}, one for each collector, got {len(channels)}")
        wanted_u = sorted(masses.isotope_mass_u(c) if isinstance(c, str) else float(c) for c in channels)
        voltage_v = bias_v + float(self.extraction_v.get())
        return masses.collector_radii_mm(wanted_u, voltage_v, float(self.field_t.get()), self.settings.sector)

    def frame_shape(self) -> tuple[int, ...]:
        fib = self.parent.fib
        return len(self.collectors), int(fib.rows.get()), int(fib.columns.get())

    def spoilt(self) -> bool:
        """Return False: the frame is kept because its material is gone. The plan is suspended all the same."""
        self.conditions.tripped()
        return False

    def acquire(self) -> Frame:
        self.interlocks.check_action("raster")
        self.channel.check_going(self)
        frame: Frame = self.channel.driver.raster_frame()
        return frame

    def stop(self, success: bool = True) -> None:
        """End the running raster. Its status finishes without a frame; what it has eroded is lost."""
        super().stop(success=success)

    def kickoff(self) -> Status:
        """Start the prepared frame, or the next one if none was prepared. Returns a finished status."""
        self.interlocks.check_action("raster")
        self._raster = self.take()
        return done(self)

    def complete(self) -> Status:
        """Return the status of the frame; it fails with the driver's message."""
        return self._raster or done(self)

    def describe_collect(self) -> dict[str, Any]:
        return self.describe_frames()

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        self._collected = True
        yield from self.frame_documents()

    def get_index(self) -> int:
        """Return the number of frames in ``primary``."""
        return self.store.count("primary")
