"""Driver protocols: what a lab implements to use its own instrument with these devices. The digital twin does too.

A driver has a few blocking calls. ``get`` and ``put`` take the name of a quantity with its unit (``"current_na"``).
``put`` returns when the hardware confirms the value; it raises ``ValueError`` (refused) or ``RuntimeError`` (failed)
with one sentence. Devices call drivers from one worker thread, with two exceptions. ``stop`` comes from any thread at
any time and must end a blocking call early with RuntimeError; an incomplete frame is not returned. ``get`` of
quantities that suspend a plan (*any time* below) comes during other calls and must return without waiting for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Value = float | int | str | bool


@dataclass(frozen=True)
class HeldCounts:
    """Counts that stay on the instrument's computer until its own writer puts them into a file."""

    shape: tuple[int, ...]


class Frame(Protocol):
    """A frame of a detector or scan generator, with time on the instrument's clock and beam current."""

    @property
    def counts(self) -> NDArray[np.generic] | HeldCounts: ...
    @property
    def started_s(self) -> float: ...
    @property
    def stopped_s(self) -> float: ...
    @property
    def current_na(self) -> float: ...


@dataclass(frozen=True)
class HeldFrame:
    """A frame whose counts stay on the instrument's computer."""

    counts: HeldCounts
    started_s: float
    stopped_s: float
    current_na: float


class FrameFile(Protocol):
    """A file that grows frame by frame; ``append`` returns the index of a frame when it is on disk."""

    count: int

    @property
    def uri(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    def append(self, frame: Any) -> int: ...
    def close(self) -> None: ...


class WritesFrames(Protocol):
    """A driver that also writes the frames, as areaDetector does: it keeps a frame until ``append`` is called.

    The arguments are those of :class:`xrm_sims.data.frames.FrameWriter`, which writes the frames of other drivers.
    """

    def frame_writer(
        self,
        path: Path,
        dataset: str,
        frame_shape: tuple[int, ...],
        dtype: DTypeLike,
        attributes: Mapping[str, Any] | None = None,
    ) -> FrameFile: ...


class Driver(Protocol):
    """Named quantities; ``Drivers`` lists the names of each device."""

    def get(self, name: str) -> Value: ...
    def put(self, name: str, value: Value) -> None: ...
    def stop(self) -> None: ...


class InstrumentDriver(Driver, Protocol):
    """Mode, clock and chamber."""

    def let_pass(self, seconds: float) -> None:
        """Wait on the instrument's clock: hardware sleeps, a simulation may advance its clock."""
        ...


class DetectorDriver(Driver, Protocol):
    """WidePIX: counts (rows, columns) after binning, uint32."""

    def expose(self) -> Frame: ...
    def bad_pixels(self) -> NDArray[np.bool_]: ...


class IonBeamDriver(Driver, Protocol):
    """Gallium FIB: draws one pass of a pattern and returns its dose, ``dose_nc``.

    ``deposit_pass`` lets the platinum precursor flow only while it draws.
    """

    def mill_pass(self, pattern: dict[str, Any]) -> dict[str, float]: ...
    def deposit_pass(self, pattern: dict[str, Any]) -> dict[str, float]: ...


class SectorDriver(Driver, Protocol):
    """Magnetic sector: one raster frame, counts (channel, row, column), uint32; erodes the surface."""

    def raster_frame(self) -> Frame: ...


class ImageDriver(Driver, Protocol):
    """SE: (row, column) counts; EDS: (element, row, column) counts, uint32."""

    def image(self) -> Frame: ...


class Drivers(Protocol):
    """One instrument.

    ================ =====================================================================================
    attribute        quantities (ro: read only; starred: any time)
    ================ =====================================================================================
    instrument       mode* ("xray", "sem", "fib", "transfer"), time_s* (ro), chamber_pressure_pa* (ro),
                     specimen (name; ``put`` has it exchanged by a robot or a person, and returns when it is in)
    beam             voltage_kv, current_na*, measured_current_na* (ro), blanked, probe_nm,
                     position_y_um, position_z_um (on the target)
    target           x_um, y_um, z_um (laboratory frame, tip of the target), material
    stage            x_um, y_um, z_um, tilt_deg, bias_v
    rotation         angle_deg
    widepix          exposure_s, threshold_kev, counter_depth_bits, binning, rows (ro), columns (ro),
                     temperature_c* (ro)
    fib              voltage_kv, current_pa, blanked, fov_um, rows, columns, dwell_ms, centre_u_um,
                     centre_v_um, dose_nc (ro, total on the specimen), scan_dose_nc (ro, its part from rasters,
                     images and milling passes, without a parked beam)
    sector           field_t, extraction_v, slit_mm, collector_1_radius_mm ... collector_4_radius_mm,
                     collector_1_dead_time_ns (ro) ..., collector_1_dark_rate_cps (ro) ...
    se               source ("electron", "ion"), fov_um, rows, columns, dwell_us, centre_u_um, centre_v_um
    eds              elements (comma-separated, e.g. "Ni,Co,C"), fov_um, rows, columns, dwell_ms,
                     centre_u_um, centre_v_um
    ================ =====================================================================================
    """

    @property
    def instrument(self) -> InstrumentDriver: ...
    @property
    def beam(self) -> Driver: ...
    @property
    def target(self) -> Driver: ...
    @property
    def stage(self) -> Driver: ...
    @property
    def rotation(self) -> Driver: ...
    @property
    def widepix(self) -> DetectorDriver: ...
    @property
    def fib(self) -> IonBeamDriver: ...
    @property
    def sector(self) -> SectorDriver: ...
    @property
    def se(self) -> ImageDriver: ...
    @property
    def eds(self) -> ImageDriver: ...
    def close(self) -> None:
        """Release the instrument without changing its state."""
