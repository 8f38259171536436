"""Coordinate frames and the cone-beam geometry.

Laboratory frame (right-handed): origin where the central ray meets the rotation axis, z up along the axis, x from
source to detector. Specimen frame = laboratory frame at rotation 0, fixed to the specimen; rotation is positive
counter-clockwise seen from +z. Pixel (row r, column c) lies at y = (c - (C-1)/2 - offset_c) * pixel and
z = (r - (R-1)/2 - offset_r) * pixel on the detector plane; voxel (k, j, i) is centred at
((i, j, k) - (n-1)/2) * voxel in the specimen frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def _finite(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=float)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}, needs {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: needs finite numbers, got {np.count_nonzero(~np.isfinite(array))} that are not")
    return array


def _counts(name: str, value: Any, length: int) -> tuple[int, ...]:
    given = tuple(int(n) for n in value)
    if len(given) != length or min(given) < 1:
        raise ValueError(f"{name}: needs {length} positive integers, got {value}")
    return given


@dataclass(frozen=True, eq=False)
class ConeGeometry:
    """A circular cone-beam scan: lengths as built, one angle per view, and what the views were displaced by.

    Parameters
    ----------
    source_object_mm, source_detector_mm : distances from the focal spot to the rotation axis and to the detector.
    pixel_mm : detector pitch (after binning).
    detector_shape : (rows, columns).
    angles_deg : (n,) rotation of the specimen in each view.
    volume_shape : (z, y, x) voxels.
    voxel_um : edge of a voxel.
    detector_offset_px : (row, column) displacement common to all images.
    detector_roll_deg : the image turned counter-clockwise in the detector plane (column right, row up).
    axis_offset_um : the rotation axis displaced along +y.
    view_shifts_px : (n, 2) displacement of each image along (row, column), or None.
    view_scale : (n,) magnification relative to nominal, or None.

    Raises
    ------
    ValueError naming the argument, what it got and what it needs.
    """

    source_object_mm: float
    source_detector_mm: float
    pixel_mm: float
    detector_shape: tuple[int, int]
    angles_deg: NDArray[np.float64]
    volume_shape: tuple[int, int, int]
    voxel_um: float
    detector_offset_px: tuple[float, float] = (0.0, 0.0)
    detector_roll_deg: float = 0.0
    axis_offset_um: float = 0.0
    view_shifts_px: NDArray[np.float64] | None = field(default=None)
    view_scale: NDArray[np.float64] | None = field(default=None)

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("source_object_mm", "source_detector_mm", "pixel_mm", "voxel_um"):
            value = float(getattr(self, name))
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}: needs a positive length, got {value}")
            put(self, name, value)
        if self.source_detector_mm <= self.source_object_mm:
            raise ValueError(
                f"source_detector_mm: needs more than source_object_mm = {self.source_object_mm}, "
                f"got {self.source_detector_mm}"
            )
        put(self, "detector_shape", _counts("detector_shape", self.detector_shape, 2))
        put(self, "volume_shape", _counts("volume_shape", self.volume_shape, 3))
        angles = _finite("angles_deg", self.angles_deg)
        if angles.ndim != 1 or not angles.size:
            raise ValueError(f"angles_deg: needs a one-dimensional list of angles, got shape {angles.shape}")
        put(self, "angles_deg", angles)
        put(self, "detector_offset_px", tuple(_finite("detector_offset_px", self.detector_offset_px, (2,)).tolist()))
        put(self, "detector_roll_deg", float(_finite("detector_roll_deg", self.detector_roll_deg, ())))
        put(self, "axis_offset_um", float(_finite("axis_offset_um", self.axis_offset_um, ())))
        if self.view_shifts_px is not None:
            put(self, "view_shifts_px", _finite("view_shifts_px", self.view_shifts_px, (angles.size, 2)))
        if self.view_scale is not None:
            scale = _finite("view_scale", self.view_scale, (angles.size,))
            if (scale <= 0).any():
                raise ValueError(f"view_scale: needs positive numbers, got {scale.min()}")
            put(self, "view_scale", scale)
        radius_um = 0.5 * self.voxel_um * max(self.volume_shape[1:])
        if radius_um >= self.source_object_mm * 1e3:
            raise ValueError(
                f"voxel_um: {self.voxel_um} um x {max(self.volume_shape[1:])} voxels reach the source at "
                f"{self.source_object_mm} mm; are millimetres and micrometres mixed up?"
            )

    @property
    def magnification(self) -> float:
        return self.source_detector_mm / self.source_object_mm

    @property
    def num_views(self) -> int:
        return len(self.angles_deg)

    def only(self, views: NDArray[np.int64]) -> ConeGeometry:
        """The same scan with the views of these indices alone."""
        return replace(
            self,
            angles_deg=self.angles_deg[views],
            view_shifts_px=None if self.view_shifts_px is None else self.view_shifts_px[views],
            view_scale=None if self.view_scale is None else self.view_scale[views],
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and lists, as the start document carries them."""
        plain: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            plain[entry.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> ConeGeometry:
        """The inverse of :meth:`as_dict`; unknown keys are refused by name."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(table) - known)
        if unknown:
            raise ValueError(f"geometry: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
        missing = sorted(e.name for e in fields(cls) if e.name not in table and e.name in _REQUIRED)
        if missing:
            raise ValueError(f"geometry: field {missing[0]!r} is missing")
        return cls(**table)

    def __str__(self) -> str:
        rows, columns = self.detector_shape
        nz, ny, nx = self.volume_shape
        pitch_um = self.pixel_mm * 1e3 / self.magnification
        lines = [
            f"cone beam, {self.num_views} views from {self.angles_deg[0]:.2f} to {self.angles_deg[-1]:.2f} deg",
            f"source-object   {self.source_object_mm:.4g} mm",
            f"source-detector {self.source_detector_mm:.4g} mm (magnification {self.magnification:.4g})",
            f"detector        {rows} x {columns} pixels of {self.pixel_mm:.4g} mm = {pitch_um:.4g} um at the axis",
            f"volume          {nz} x {ny} x {nx} voxels (z, y, x) of {self.voxel_um:.4g} um",
            f"offsets         detector {self.detector_offset_px} px, roll {self.detector_roll_deg:.4g} deg, "
            f"axis {self.axis_offset_um:.4g} um",
        ]
        if self.view_shifts_px is not None:
            rms = np.sqrt((self.view_shifts_px**2).mean(axis=0))
            lines.append(f"view shifts     rms {rms[0]:.3g} (rows), {rms[1]:.3g} (columns) px")
        return "\n".join(lines)


_REQUIRED = {
    "source_object_mm",
    "source_detector_mm",
    "pixel_mm",
    "detector_shape",
    "angles_deg",
    "volume_shape",
    "voxel_um",
}


def rotation_z(angle_deg: float) -> NDArray[np.float64]:
    """3 x 3 matrix that turns vectors counter-clockwise seen from +z."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Points (n, 2) through a 2 x 3 affine: p' = A p + t."""
    affine = np.asarray(matrix, dtype=float)
    return np.asarray(points, dtype=float) @ affine[:, :2].T + affine[:, 2]


def invert_affine(matrix: ArrayLike) -> NDArray[np.float64]:
    """The 2 x 3 affine that undoes ``matrix``; ValueError when it has no inverse."""
    affine = np.asarray(matrix, dtype=float)
    if abs(np.linalg.det(affine[:, :2])) < 1e-12:
        raise ValueError(f"affine: {affine.tolist()} has no inverse")
    back = np.linalg.inv(affine[:, :2])
    return np.column_stack([back, -back @ affine[:, 2]])


def scan_angles(num: int, step_deg: float, start_deg: float = 0.0) -> NDArray[np.float64]:
    """Half-open: ``start + arange(n) * step``, so that 1,200 steps of 0.3 degrees end at 359.7."""
    if num < 1:
        raise ValueError(f"num: needs at least one projection, got {num}")
    if not np.isfinite(step_deg) or step_deg == 0:
        raise ValueError(f"step_deg: needs a step other than 0 degrees, got {step_deg}")
    return np.asarray(start_deg + np.arange(num) * float(step_deg), dtype=np.float64)
