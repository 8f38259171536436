"""A scan in a foreign file, independent of the format: places of its frames, and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.exchange.round_trip import READINGS, RoundTrip
from xrm_sims.geometry import ConeGeometry, Geometry, ParallelGeometry, geometry_from_dict

MIN_MAGNIFICATION = 1.01  # below it the beam is treated as parallel, as at a synchrotron


@dataclass(frozen=True, eq=False)
class ForeignFrames:
    """Frames of one stream: dataset in the file (frame, row, column), indices of the frames, readings of each frame."""

    dataset: str
    indices: NDArray[np.int64]
    readings: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Lengths:
    """Distances in a file; None where the file has none.

    synchrotron : whether the file names a synchrotron as source; then the beam is parallel.
    """

    pixel_mm: float | None = None
    specimen_pixel_um: float | None = None
    source_object_mm: float | None = None
    object_detector_mm: float | None = None
    synchrotron: bool = False


@dataclass(frozen=True, eq=False)
class ForeignScan:
    """A tomography in a foreign file. ``metadata`` may hold ``sample_name``, ``title``, ``measured``,
    ``energy_kev``, ``exposure_s``."""

    path: Path
    format: str
    entry: str
    shape: tuple[int, int]
    frames: dict[str, ForeignFrames]
    lengths: Lengths
    metadata: dict[str, Any] = field(default_factory=dict)
    round_trip: RoundTrip | None = None

    def geometry(self, pixel_um: float | None = None, axis_column: float | None = None) -> Geometry:
        """Return the geometry, with a volume as large as the detector's field.

        Parameters
        ----------
        pixel_um : pixel size at the specimen; replaces the one in the file.
        axis_column : detector column, from 0, of the rotation axis; None for the middle.

        Raises ValueError when the pixel size is unknown.
        """
        angles = self.frames["primary"].readings["rotation_angle_deg"]
        if self.round_trip is not None and pixel_um is None and axis_column is None:
            return geometry_from_dict(self.round_trip.starts[0]["geometry"] | {"angles_deg": angles.tolist()})
        rows, columns = self.shape
        middle = (columns - 1) / 2
        common: dict[str, Any] = {
            "detector_shape": self.shape,
            "angles_deg": angles,
            "volume_shape": (rows, columns, columns),
            "detector_offset_px": (0.0, 0.0 if axis_column is None else axis_column - middle),
        }
        lengths = self.lengths
        pixel_mm, source_mm, flight_mm = lengths.pixel_mm, lengths.source_object_mm, lengths.object_detector_mm
        if pixel_um is None and pixel_mm and source_mm and flight_mm and not lengths.synchrotron:
            source_detector_mm = source_mm + flight_mm
            if source_detector_mm >= MIN_MAGNIFICATION * source_mm:
                voxel_um = pixel_mm * 1e3 * (source_mm / source_detector_mm)
                return ConeGeometry(
                    source_object_mm=source_mm,
                    source_detector_mm=source_detector_mm,
                    pixel_mm=pixel_mm,
                    voxel_um=voxel_um,
                    **common,
                )
        pitch_um = pixel_um or lengths.specimen_pixel_um or (pixel_mm and 1e3 * pixel_mm)
        if not pitch_um:
            raise ValueError(f"{self.path}: has no pixel size; give its size at the specimen with --pixel-um")
        return ParallelGeometry(pixel_um=pitch_um, voxel_um=pitch_um, **common)


def readings_of(
    round_trip: RoundTrip | None, stream: str, angles_deg: NDArray[np.float64], current_na: Any = np.nan
) -> dict[str, NDArray[np.float64]]:
    """Return the readings of a stream by data key: those of the round trip, else those of the format, if finite."""
    if round_trip is not None and len(round_trip.readings[stream]["rotation_angle_deg"]) == len(angles_deg):
        readings = round_trip.readings[stream]
    else:
        readings = {"rotation_angle_deg": angles_deg, "beam_current_na": current_na}
    return {key: readings[key] for key in READINGS if key in readings and np.isfinite(readings[key]).all()}
