"""Coordinate frames and the geometries of cone-beam and parallel-beam scans.

Laboratory frame (right-handed): origin where the central ray meets the rotation axis, z up along the axis, x from
source to detector. Specimen frame = laboratory frame at rotation 0, fixed to the specimen; rotation is positive
counter-clockwise seen from +z. Pixel (row r, column c) lies at y = (c - (C-1)/2 - offset_c) * pixel and
z = (r - (R-1)/2 - offset_r) * pixel on the detector plane; voxel (k, j, i) is centred at
((i, j, k) - (n-1)/2) * voxel in the specimen frame.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

VOXEL_PER_PIXEL = (1e-2, 1e2)  # at the axis; outside this range a length was given in the wrong unit
LARGEST_PIXEL_MM = 10.0
LARGEST_DISTANCE_MM = 2e5  # longer than any beamline's hutch
FAR_WIDTHS = 1e7  # source distance of a parallel beam, in volume widths; float64 still resolves 1e-6 of a voxel there


def _finite(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Return ``value`` as a float array; ValueError for another shape or numbers that are not finite."""
    array = np.asarray(value, dtype=float)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}, needs {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: needs finite numbers, got {np.count_nonzero(~np.isfinite(array))} that are not")
    return array


def _counts(name: str, value: Any, length: int) -> tuple[int, ...]:
    """Return ``value`` as a tuple of positive integers; ValueError otherwise."""
    given = tuple(int(n) for n in value)
    if len(given) != length or min(given) < 1:
        raise ValueError(f"{name}: needs {length} positive integers, got {value}")
    return given


class _Scan:
    """Fields and methods that cone-beam and parallel-beam geometries share."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    _lengths: ClassVar[tuple[str, ...]]
    magnification: Any
    pixel_mm: Any
    angles_deg: NDArray[np.float64]
    detector_shape: tuple[int, int]
    volume_shape: tuple[int, int, int]
    voxel_um: float
    detector_offset_px: tuple[float, float]
    detector_roll_deg: float
    axis_offset_um: float
    view_shifts_px: NDArray[np.float64] | None

    def _check(self) -> None:
        put = partial(object.__setattr__, self)
        for name in self._lengths:
            value = float(getattr(self, name))
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}: needs a positive length, got {value}")
            put(name, value)
        put("detector_shape", _counts("detector_shape", self.detector_shape, 2))
        put("volume_shape", _counts("volume_shape", self.volume_shape, 3))
        angles = _finite("angles_deg", self.angles_deg)
        if angles.ndim != 1 or not angles.size:
            raise ValueError(f"angles_deg: needs a one-dimensional list of angles, got shape {angles.shape}")
        put("angles_deg", angles)
        put("detector_offset_px", tuple(_finite("detector_offset_px", self.detector_offset_px, (2,)).tolist()))
        for name in ("detector_roll_deg", "axis_offset_um"):
            put(name, float(_finite(name, getattr(self, name), ())))
        if self.view_shifts_px is not None:
            put("view_shifts_px", _finite("view_shifts_px", self.view_shifts_px, (angles.size, 2)))

    def _check_units(self) -> None:
        """Raise ValueError where voxel and pixel differ so much that millimetres and micrometres were confused."""
        pitch_um = self.pixel_mm * 1e3 / self.magnification
        low, high = VOXEL_PER_PIXEL
        if not low < self.voxel_um / pitch_um < high:
            raise ValueError(
                f"voxel_um: a voxel of {self.voxel_um:.4g} um against a detector pixel of {pitch_um:.4g} um at the "
                f"rotation axis, needs {low:g} to {high:g} times as much; are millimetres and micrometres mixed up in "
                f"{', '.join(self._lengths)}?"
            )

    @property
    def axis_column(self) -> float:
        """Detector column of the rotation axis, counted from 0."""
        axis_px = float(self.axis_offset_um * 1e-3 * self.magnification / self.pixel_mm)
        return (self.detector_shape[1] - 1) / 2 + self.detector_offset_px[1] + axis_px

    @property
    def num_views(self) -> int:
        return len(self.angles_deg)

    def only(self, views: NDArray[np.int64]) -> Self:
        """Return the same scan with only the views of these indices."""
        chosen = {
            entry.name: value[views]
            for entry in fields(self)
            if isinstance(value := getattr(self, entry.name), np.ndarray)
        }
        return replace(self, **chosen)

    def binned(self, factor: int) -> Self:
        """Return the same scan with pixels and voxels ``factor`` times as large.

        Rows and columns at the end that do not fill a binned pixel are cut.
        """
        rows, columns = (max(1, n // factor) for n in self.detector_shape)
        cut = [n - min(m * factor, n) for n, m in zip(self.detector_shape, (rows, columns), strict=True)]
        offset = tuple((o + c / 2) / factor for o, c in zip(self.detector_offset_px, cut, strict=True))
        lengths = {
            name: getattr(self, name) * factor for name in ("pixel_mm", "pixel_um", "voxel_um") if name in self._lengths
        }
        return replace(
            self,
            **lengths,
            detector_shape=(rows, columns),
            detector_offset_px=offset,
            volume_shape=tuple(max(1, round(n / factor)) for n in self.volume_shape),
            view_shifts_px=None if self.view_shifts_px is None else self.view_shifts_px / factor,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers and lists, as in the start document."""
        plain: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            plain[entry.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Self:
        """Make a geometry from the result of :meth:`as_dict`; ValueError names an unknown or missing key."""
        known = {entry.name: entry.default is MISSING for entry in fields(cls)}
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise ValueError(f"geometry: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
        missing = sorted(name for name, required in known.items() if required and name not in table)
        if missing:
            raise ValueError(f"geometry: field {missing[0]!r} is missing")
        return cls(**table)

    def _describe(self, beam: str, *hardware: str) -> str:
        """Return the text of ``str()``: kind of beam, lines about source and detector, then the common fields."""
        nz, ny, nx = self.volume_shape
        lines = [
            f"{beam} beam, {self.num_views} views from {self.angles_deg[0]:.2f} to {self.angles_deg[-1]:.2f} deg",
            *hardware,
            f"volume          {nz} x {ny} x {nx} voxels (z, y, x) of {self.voxel_um:.4g} um",
            f"offsets         detector {self.detector_offset_px} px, roll {self.detector_roll_deg:.4g} deg, "
            f"axis {self.axis_offset_um:.4g} um",
        ]
        if self.view_shifts_px is not None:
            rms = np.sqrt((self.view_shifts_px**2).mean(axis=0))
            lines.append(f"view shifts     rms {rms[0]:.3g} (rows), {rms[1]:.3g} (columns) px")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class ConeGeometry(_Scan):
    """A circular cone-beam scan: distances, one angle for each view, and the displacement of each view.

    Parameters
    ----------
    source_object_mm, source_detector_mm : distances from the focal spot to the rotation axis and to the detector.
    pixel_mm : detector pitch (after binning).
    detector_shape : (rows, columns).
    angles_deg : (n,) rotation of the specimen in each view.
    volume_shape : (z, y, x) voxels.
    voxel_um : edge of a voxel.
    detector_offset_px : (row, column) displacement of all images.
    detector_roll_deg : rotation of the image in the detector plane, counter-clockwise (column right, row up).
    axis_offset_um : displacement of the rotation axis along +y.
    view_shifts_px : (n, 2) displacement of each image along (row, column), or None.
    view_scale : (n,) magnification relative to nominal, or None.
    view_height_um : (n,) height of the source above the middle plane of the volume, or None. It tilts the line of
        sight; only ``view_shifts_px`` moves the images.

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
    view_height_um: NDArray[np.float64] | None = field(default=None)

    _lengths = ("source_object_mm", "source_detector_mm", "pixel_mm", "voxel_um")

    def __post_init__(self) -> None:
        self._check()
        if self.source_detector_mm <= self.source_object_mm:
            raise ValueError(
                f"source_detector_mm: needs more than source_object_mm = {self.source_object_mm}, "
                f"got {self.source_detector_mm}"
            )
        for name in ("view_scale", "view_height_um"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _finite(name, given, (self.num_views,)))
        if self.view_scale is not None and (self.view_scale <= 0).any():
            raise ValueError(f"view_scale: needs positive numbers, got {self.view_scale.min()}")
        radius_um = 0.5 * self.voxel_um * max(self.volume_shape[1:])
        if radius_um >= self.source_object_mm * 1e3:
            raise ValueError(
                f"voxel_um: {self.voxel_um} um x {max(self.volume_shape[1:])} voxels reach the source at "
                f"{self.source_object_mm} mm; are millimetres and micrometres mixed up?"
            )
        for name, largest in (("pixel_mm", LARGEST_PIXEL_MM), ("source_detector_mm", LARGEST_DISTANCE_MM)):
            if getattr(self, name) > largest:
                raise ValueError(
                    f"{name}: {getattr(self, name):g} mm is more than {largest:g} mm; was it given in micrometres?"
                )
        self._check_units()

    @property
    def magnification(self) -> float:
        return self.source_detector_mm / self.source_object_mm

    def __str__(self) -> str:
        rows, columns = self.detector_shape
        pitch_um = self.pixel_mm * 1e3 / self.magnification
        return self._describe(
            "cone",
            f"source-object   {self.source_object_mm:.4g} mm",
            f"source-detector {self.source_detector_mm:.4g} mm (magnification {self.magnification:.4g})",
            f"detector        {rows} x {columns} pixels of {self.pixel_mm:.4g} mm = {pitch_um:.4g} um at the axis",
        )


@dataclass(frozen=True, eq=False)
class ParallelGeometry(_Scan):
    """A parallel-beam scan, as at a synchrotron; every function that takes a :class:`ConeGeometry` takes it too.

    It has the same attributes. The source is so far away, and the detector at the axis, that no ray deviates from the
    parallel by more than 1e-4 of a voxel in a volume 4,000 voxels wide.

    Parameters
    ----------
    pixel_um : detector pitch (after binning), as seen at the specimen.
    Others : as in :class:`ConeGeometry`, which also raises the same errors.
    """

    pixel_um: float
    detector_shape: tuple[int, int]
    angles_deg: NDArray[np.float64]
    volume_shape: tuple[int, int, int]
    voxel_um: float
    detector_offset_px: tuple[float, float] = (0.0, 0.0)
    detector_roll_deg: float = 0.0
    axis_offset_um: float = 0.0
    view_shifts_px: NDArray[np.float64] | None = field(default=None)

    _lengths = ("pixel_um", "voxel_um")
    magnification = 1.0
    view_scale = view_height_um = None

    def __post_init__(self) -> None:
        self._check()
        self._check_units()

    @property
    def pixel_mm(self) -> float:
        return 1e-3 * self.pixel_um

    @property
    def source_object_mm(self) -> float:
        return FAR_WIDTHS * 1e-3 * self.voxel_um * max(self.volume_shape)

    source_detector_mm = source_object_mm

    def __str__(self) -> str:
        rows, columns = self.detector_shape
        return self._describe("parallel", f"detector        {rows} x {columns} pixels of {self.pixel_um:.4g} um")


Geometry = ConeGeometry | ParallelGeometry


def geometry_from_dict(table: dict[str, Any]) -> Geometry:
    """Return the geometry of a start document, parallel if it has ``pixel_um``; ValueError names a wrong field."""
    return ParallelGeometry.from_dict(table) if "pixel_um" in table else ConeGeometry.from_dict(table)


def rotation_z(angle_deg: float) -> NDArray[np.float64]:
    """Return the 3 x 3 matrix that rotates vectors counter-clockwise seen from +z."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Transform points (n, 2) with a 2 x 3 affine: p' = A p + t."""
    affine: NDArray[np.float64] = np.asarray(matrix, dtype=float)
    moved: NDArray[np.float64] = np.asarray(points, dtype=float) @ affine[:, :2].T + affine[:, 2]
    return moved


def invert_affine(matrix: ArrayLike) -> NDArray[np.float64]:
    """Return the inverse of a 2 x 3 affine; ValueError when it has none."""
    affine = np.asarray(matrix, dtype=float)
    if abs(np.linalg.det(affine[:, :2])) < 1e-12:
        raise ValueError(f"affine: {affine.tolist()} has no inverse")
    back = np.linalg.inv(affine[:, :2])
    return np.column_stack([back, -back @ affine[:, 2]])


def scan_angles(num: int, step_deg: float, start_deg: float = 0.0) -> NDArray[np.float64]:
    """Return ``start + arange(n) * step`` in degrees, without the end: 1,200 steps of 0.3 degrees end at 359.7."""
    if num < 1:
        raise ValueError(f"num: needs at least one projection, got {num}")
    if not np.isfinite(step_deg) or step_deg == 0:
        raise ValueError(f"step_deg: needs a step other than 0 degrees, got {step_deg}")
    return np.asarray(start_deg + np.arange(num) * float(step_deg), dtype=np.float64)
