"""The magnetic sector: four collectors that detect in parallel, and the raster's flyer."""

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
    """A quantity whose driver name begins with the collector's, e.g. ``collector_1_radius_mm``."""
    return Component(Quantity, f"_{name}", kind=Kind.config, **kwargs)


class IonCollector(Device):
    """One detector on the focal plane. ``set`` moves it to a mass in u; ``mass_u`` and ``label`` follow its radius."""

    radius_mm = _of_collector("radius_mm", egu="mm", limits=lambda s: s.sector.radius_limits_mm)
    dead_time_ns = _of_collector("dead_time_ns", egu="ns", read_only=True)
    dark_rate_cps = _of_collector("dark_rate_cps", egu="1/s", read_only=True)

    def __init__(self, prefix: str = "", *, name: str, parent: Any, **kwargs: Any) -> None:
        self.settings, self.interlocks, self.channel = parent.settings, parent.interlocks, parent.channel
        super().__init__(prefix, name=name, parent=parent, **kwargs)

    @property
    def mass_u(self) -> float:
        """The mass that arrives at this radius with the present field, bias and extraction voltage."""
        return masses.mass_u(float(self.radius_mm.get()), self.parent.voltage_v, self.parent.field_t.get())

    @property
    def label(self) -> str:
        return masses.label(self.mass_u, self.settings.sector.resolving_power)

    def set(self, mass_u: float) -> Status:
        """ValueError when the mass is out of reach, or between collectors that leave no room for one more."""
        sector, field_t = self.parent, self.parent.field_t.get()
        others = [c.mass_u for c in sector.collectors if c is not self]
        return self.radius_mm.set(
            masses.check_places([mass_u, *others], sector.voltage_v, field_t, self.settings.sector)[0]
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
    """Mass spectrometer and flyer of the raster: counts (channel, row, column), one kickoff per frame.

    ``prepare(Slot)`` → ``kickoff`` → ``complete`` → ``collect``; each frame is on disk before its stream datum, and a
    frame that was taken is never taken again by a rewound plan.
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
        """Say which frame is next, (stream, index), or with None that none is."""
        self._collected = False
        return done(self) if next_frame is None else super().prepare(next_frame)

    def pause(self) -> None:
        """Between collecting a frame and preparing the next there is nothing to repeat, and the RunEngine must not:
        collecting again would count a frame that has no new datum."""
        if self._collected:
            raise NoReplayAllowed

    @property
    def collectors(self) -> tuple[IonCollector, ...]:
        return self.collector_1, self.collector_2, self.collector_3, self.collector_4

    @property
    def voltage_v(self) -> float:
        """What the ions are accelerated by: stage bias plus extraction."""
        return float(self.parent.stage.bias_v.get()) + float(self.extraction_v.get())

    def channels(self) -> list[dict[str, Any]]:
        """What each collector stands on: label, mass_u, radius_mm."""
        return [
            {"label": c.label, "mass_u": round(c.mass_u, 4), "radius_mm": float(c.radius_mm.get())}
            for c in self.collectors
        ]

    def radii_for(self, channels: Sequence[str | float], bias_v: float) -> list[float]:
        """Radii in mm, ascending, on which the collectors meet isotopes ("6Li") or masses in u at a stage bias.

        ValueError unless there is one for each collector, and where :func:`masses.check_places` refuses.
        """
        if len(channels) != len(self.collectors):
            raise ValueError(f"channels: needs {len(self.collectors)}, one for each collector, got {len(channels)}")
        wanted_u = sorted(masses.isotope_mass_u(c) if isinstance(c, str) else float(c) for c in channels)
        voltage_v = bias_v + float(self.extraction_v.get())
        return masses.check_places(wanted_u, voltage_v, float(self.field_t.get()), self.settings.sector)

    def frame_shape(self) -> tuple[int, ...]:
        fib = self.parent.fib
        return len(self.collectors), int(fib.rows.get()), int(fib.columns.get())

    def spoilt(self) -> bool:
        """Never: the specimen has paid for the frame. The plan is suspended all the same."""
        self.conditions.tripped()
        return False

    def acquire(self) -> Frame:
        self.interlocks.check_action("raster")
        self.channel.check_going(self)
        frame: Frame = self.channel.driver.raster_frame()
        return frame

    def stop(self, success: bool = True) -> None:
        """End the raster under way. That is no failure: it finishes without a frame, and what it eroded is gone."""
        super().stop(success=success)

    def kickoff(self) -> Status:
        """Start the prepared frame (the next one when none was); the status says that it has begun."""
        self.interlocks.check_action("raster")
        self._raster = self.take()
        return done(self)

    def complete(self) -> Status:
        """Finishes with the frame, or fails with the driver's sentence."""
        return self._raster or done(self)

    def describe_collect(self) -> dict[str, Any]:
        return self.describe_frames()

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        self._collected = True
        yield from self.frame_documents()

    def get_index(self) -> int:
        """Frames of ``primary`` taken so far."""
        return self.store.count("primary")
