"""Geometry correction from the data: displacement and magnification of each view, roll of the detector, rotation axis.

Moments of the projections give a start (:mod:`recon.alignment.moments`); registration with reprojections, coarse to
fine, gives the rest (:mod:`recon.alignment.reprojection`).

Projections leave some quantities undetermined, which are fixed by convention (the gauge):

- A constant in the rows is the height of the specimen: it is zero in the first view, or with reference images in the
  first of them.
- A constant in the columns is the displacement of the axis: it goes to ``axis_offset_um``, and the column shifts have
  a mean of zero, or with reference images the mean of the drift since the first of them.
- A sinusoid of the angle in the columns (and with it one in angle and magnification) is the position of the specimen:
  the axis of a round, free-standing pillar is the axis of the specimen frame; otherwise the sinusoid is that of the
  drift measured by the reference images, or zero without any.
- The mean of the magnification's logarithm is the size of the specimen: it is not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.alignment.moments import MomentStart, moment_start, specimen_radius_um, stands_free, without_position
from recon.alignment.outline import round_outline
from recon.alignment.references import reference_drift
from recon.alignment.reprojection import Departure, binned, coarse_geometry, departure
from recon.kernels.argument_checks import checked_array, checked_scan
from recon.kernels.progress import Fraction
from xrm_sims.geometry import ConeGeometry, Geometry

AnyGeometry = TypeVar("AnyGeometry", bound=Geometry)

ROUNDS = 2
COARSE_COLUMNS, COARSE_ROWS = 160, 24  # registration begins on images binned to no less than this
FINE_COLUMNS = 640  # and ends on images of no more columns than this
ROOM = 1.06  # widening of the cylinder that holds the specimen, for errors of the moments and for the outline fit
LARGEST_OVERSHOOT = 0.8  # of a step of the roll, that the extrapolation uses


@dataclass(frozen=True)
class _Scan:
    """The usable views: their indices in ``p`` and ``weights``, their geometry as built, the time they were taken, the
    drift of the references at that time, and the motion by moments where the specimen stands free."""

    p: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    views: NDArray[np.int64]
    built: Geometry
    times_s: NDArray[np.float64]
    drift_px: NDArray[np.float64] | None
    start: MomentStart | None


def correct_geometry(
    p: ArrayLike,
    geometry: AnyGeometry,
    *,
    weights: ArrayLike | None = None,
    times_s: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    reference_times_s: ArrayLike | None = None,
    rounds: int = ROUNDS,
    progress: Fraction | None = None,
) -> AnyGeometry:
    """Return the geometry with shifts, magnification and angle of each view, axis offset and roll from projections.

    Sets ``view_shifts_px``, ``view_scale``, ``detector_roll_deg`` and ``axis_offset_um``, and the ``angles_deg`` and
    ``view_height_um`` that follow from the motion of source or specimen. The module's docstring lists the conventions
    for what the data leave undetermined. Raises ValueError naming the argument, what it got and what it needs.

    Parameters
    ----------
    p : (angle, row, column) line integrals; read view by view, so a memory map will do.
    geometry : the scan as built; the search starts from the shifts in it.
    weights : (angle, row, column) weight of each ray, 0 to 1. Views without any get the motion of their neighbours.
    times_s : (n,) time of each view; default one after the other.
    reference, reference_times_s : (m, row, column) line integrals of images at one angle, and their times. They
        separate drift from the position of the specimen.
    rounds : of registration at the coarsest level, with one more at each finer one; 0 to use moments only.
    progress : called with the finished fraction.
    """
    n = geometry.num_views
    shape = (n, *geometry.detector_shape)
    data = checked_scan(p, geometry)
    trusted = None if weights is None else checked_array("weights", weights, shape)
    if rounds < 0:
        raise ValueError(f"rounds: needs 0 or more, got {rounds}")
    when = np.arange(n, dtype=float) if times_s is None else np.asarray(times_s, float)
    if when.shape != (n,) or not np.isfinite(when).all():
        raise ValueError(f"times_s: got shape {when.shape}, needs {(n,)} finite numbers, one per view")
    drift = None
    if reference is not None and reference_times_s is not None and times_s is not None:
        drift = reference_drift(reference, reference_times_s, when, geometry)
    views = np.arange(n) if trusted is None else np.flatnonzero([view.any() for view in trusted])
    if not len(views):
        raise ValueError("weights: no view has a trusted ray, needs some")
    start = moment_start(data, views, geometry.only(views)) if stands_free(data) else None
    seen_drift = None if drift is None else drift[views]
    scan = _Scan(data, trusted, views, geometry.only(views), when[views], seen_drift, start)
    found = _displaced(scan.built, _first_shifts(scan), scan)
    if rounds:
        found = _registered(scan, found, rounds, progress)
    return cast(AnyGeometry, _with_all_views(_with_axis_offset(found, scan), scan, geometry, when))


def describe_correction(nominal: Geometry, corrected: Geometry) -> str:
    """Describe the result of :func:`correct_geometry`: a line each for drift, axis, roll and magnification."""
    n = nominal.num_views
    moved = np.zeros((n, 2)) if corrected.view_shifts_px is None else corrected.view_shifts_px
    if nominal.view_shifts_px is not None:
        moved = moved - nominal.view_shifts_px
    pitch_nm = 1e6 * nominal.pixel_mm / nominal.magnification
    axis_nm = 1e3 * (corrected.axis_offset_um - nominal.axis_offset_um)
    (rows, columns), (across_rows, across_columns) = moved.std(axis=0), np.ptp(moved, axis=0)
    lines = [
        f"motion of the images: rows {across_rows:.2f} px peak to peak ({rows:.2f} rms), "
        f"columns {across_columns:.2f} px ({columns:.2f} rms); a pixel is {pitch_nm:.0f} nm",
        f"rotation axis: {axis_nm / pitch_nm:+.2f} px = {axis_nm:+.0f} nm",
        f"detector roll: {corrected.detector_roll_deg - nominal.detector_roll_deg:+.3f} deg",
    ]
    if corrected.view_scale is not None:
        scale = corrected.view_scale / (1.0 if nominal.view_scale is None else nominal.view_scale)
        along_nm = 1e6 * corrected.source_object_mm * np.ptp(scale)
        lines.append(
            f"magnification: {100 * np.ptp(scale):.3f} % peak to peak, as {along_nm:.0f} nm along the beam would make"
        )
    return "\n".join(lines)


def _first_shifts(scan: _Scan) -> NDArray[np.float64]:
    """Return the shifts given, or from moments, or of the drift; height and position are those of the drift."""
    built, drift = scan.built, scan.drift_px
    if built.view_shifts_px is not None:
        shifts = built.view_shifts_px.copy()
    elif scan.start is not None:
        shifts = scan.start.shifts_px.copy()
        shifts[:, 0] -= shifts[scan.times_s.argmin(), 0]
    else:
        shifts = np.zeros((built.num_views, 2)) if drift is None else drift.copy()
    if drift is not None:
        shifts[:, 0] -= (shifts[:, 0] - drift[:, 0]).mean()
        shifts[:, 1] += drift[:, 1] - without_position(drift[:, 1], built.angles_deg)
    return shifts


def _displaced(found: Geometry, shifts_px: NDArray[np.float64], scan: _Scan) -> Geometry:
    """Return the geometry with these shifts, and with the line of sight turned and tilted accordingly.

    A specimen displaced by y, or a source by -y, is seen turned by -y / source_object; one displaced by z is seen from
    z below. The displacement is zero at the time of the first reference, or in the first view.
    """
    rows, columns = shifts_px.T
    origin = columns[scan.times_s.argmin()] if scan.drift_px is None else (columns - scan.drift_px[:, 1]).mean()
    pitch_mm = found.pixel_mm / found.magnification
    angles = scan.built.angles_deg - np.degrees((columns - origin) * pitch_mm / found.source_object_mm)
    moved = replace(found, view_shifts_px=shifts_px, angles_deg=angles)
    return replace(moved, view_height_um=source_height_um(rows, moved)) if isinstance(moved, ConeGeometry) else moved


def source_height_um(rows_px: NDArray[np.float64], geometry: ConeGeometry) -> NDArray[np.float64]:
    """Height of the source above the middle of a specimen whose images are displaced by this number of rows."""
    return -1e3 * geometry.pixel_mm / geometry.magnification * rows_px


def _registered(scan: _Scan, found: Geometry, rounds: int, progress: Fraction | None) -> Geometry:
    """Reconstruct and register in turn, coarse to fine, then put the axis of the frame on that of the pillar."""
    plan = [(factor, 1 if level else rounds) for level, factor in enumerate(_factors(found))]
    total, done = sum(times for _, times in plan), 0
    radius_um = specimen_radius_um(scan.p, found, scan.views)
    radius_um = None if radius_um is None else ROOM * radius_um
    hardening = 0.0 if scan.start is None else scan.start.hardening
    for factor, times in plan:
        rolls: list[float] = []
        for _ in range(times):
            images = binned(scan.p, scan.weights, scan.views, found, factor, hardening)
            coarse = coarse_geometry(found, factor, radius_um)
            step, volume = departure(
                images, coarse, scan.times_s, radius_um=radius_um, roll=True, scale=isinstance(found, ConeGeometry)
            )
            rolls.append(step.roll_deg)
            found = _stepped(found, step, _extrapolated_roll(rolls), scan)
            done += 1
            if progress is not None:
                progress(done / total)
    try:
        x_um, y_um = round_outline(volume).axis_um(volume.shape, coarse.voxel_um)
    except ValueError:
        return found
    return _recentred(found, x_um, y_um, scan)


def _factors(geometry: Geometry) -> list[int]:
    """Return the binning of each level, coarse to fine; at least two levels, if necessary with the same binning."""
    rows, columns = geometry.detector_shape
    factor = max(1, min(columns // COARSE_COLUMNS, rows // COARSE_ROWS))
    factors = [factor]
    while factor > 1 and columns // (factor // 2) <= FINE_COLUMNS:
        factor //= 2
        factors.append(factor)
    return factors if len(factors) > 1 else 2 * factors


def _extrapolated_roll(steps_deg: list[float]) -> float:
    """Return the last step of the roll, shortened where it reverses an overshoot of the one before (Aitken)."""
    if len(steps_deg) < 2 or steps_deg[-1] * steps_deg[-2] >= 0:
        return steps_deg[-1]
    return steps_deg[-1] / (1 + min(-steps_deg[-1] / steps_deg[-2], LARGEST_OVERSHOOT))


def _stepped(found: Geometry, step: Departure, roll_deg: float, scan: _Scan) -> Geometry:
    """Return the geometry after a registration, without a change of height, position and size."""
    assert found.view_shifts_px is not None
    rows, columns = step.shifts_px.T
    columns = without_position(columns, scan.built.angles_deg)
    moved = _displaced(found, found.view_shifts_px + np.column_stack([rows - rows.mean(), columns]), scan)
    return _magnified(replace(moved, detector_roll_deg=found.detector_roll_deg + roll_deg), step.log_scale)


def _magnified(found: Geometry, log_scale: NDArray[np.float64]) -> Geometry:
    if not isinstance(found, ConeGeometry):
        return found
    before = 1.0 if found.view_scale is None else found.view_scale
    return replace(found, view_scale=before * np.exp(log_scale - log_scale.mean()))


def _recentred(found: Geometry, x_um: float, y_um: float, scan: _Scan) -> Geometry:
    """Describe the same scan in a frame whose axis is at (x, y) of the present one."""
    assert found.view_shifts_px is not None
    angle = np.radians(scan.built.angles_deg)
    towards_um, across_um = x_um * np.cos(angle) - y_um * np.sin(angle), x_um * np.sin(angle) + y_um * np.cos(angle)
    columns = across_um * 1e-3 * found.magnification / found.pixel_mm
    shifted = _displaced(found, found.view_shifts_px + np.column_stack([np.zeros_like(columns), columns]), scan)
    return _magnified(shifted, -np.log1p(towards_um * 1e-3 / found.source_object_mm))


def _with_axis_offset(found: Geometry, scan: _Scan) -> Geometry:
    """Turn the constant of the column shifts into a displacement of the axis."""
    assert found.view_shifts_px is not None
    own = 0.0 if scan.drift_px is None else scan.drift_px[:, 1].mean()
    constant = float(found.view_shifts_px[:, 1].mean() - own)
    pitch_um = found.pixel_mm * 1e3 / found.magnification
    return replace(
        found,
        view_shifts_px=found.view_shifts_px - np.array([0.0, constant]),
        axis_offset_um=found.axis_offset_um + constant * pitch_um,
    )


def _with_all_views(found: Geometry, scan: _Scan, geometry: Geometry, times_s: NDArray[np.float64]) -> Geometry:
    """Return the geometry of all views; unusable ones get the motion of their neighbours in time."""
    assert found.view_shifts_px is not None
    order = np.argsort(scan.times_s)

    def everywhere(seen: NDArray[np.float64]) -> NDArray[np.float64]:
        filled = np.interp(times_s, scan.times_s[order], seen[order])
        filled[scan.views] = seen
        return filled

    angles = geometry.angles_deg + everywhere(found.angles_deg - scan.built.angles_deg)
    shifts = np.column_stack([everywhere(shift) for shift in found.view_shifts_px.T])
    whole: dict[str, Any] = {"angles_deg": angles, "view_shifts_px": shifts}
    if isinstance(found, ConeGeometry):
        of_views = {"view_scale": found.view_scale, "view_height_um": found.view_height_um}
        whole |= {name: everywhere(seen) for name, seen in of_views.items() if seen is not None}
    return replace(found, **whole)
