"""Runs to volumes: a finished run, or several parts of one scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.sart import sart
from recon.alignment.geometry_correction import correct_geometry
from recon.alignment.moments import specimen_radius_um
from recon.frames.documents import TomographyConsumer, TomographyScan, documents_of
from recon.frames.prepare import STAGES, Prepared, Progress, prepare, straighten, unblur
from recon.kernels.support import BLUR_ROOM, columns_outside, field_of_view_um, slices_beyond
from xrm_sims.data.catalog import parts_of
from xrm_sims.geometry import Geometry


@dataclass(frozen=True)
class Reconstruction:
    """volume (z, y, x) in 1/um in the geometry (with its view shifts) that it was made with; times_s of the views."""

    volume: NDArray[np.float32]
    geometry: Geometry
    residuals: NDArray[np.float64]
    times_s: NDArray[np.float64]
    seconds: float
    uids: tuple[str, ...]

    @property
    def shifts_px(self) -> NDArray[np.float64]:
        """(n, 2) displacement of each image along (row, column)."""
        shifts = self.geometry.view_shifts_px
        return np.zeros((self.geometry.num_views, 2)) if shifts is None else shifts


def from_run(
    run: Any,
    *,
    correct: bool = True,
    volume_shape: tuple[int, int, int] | None = None,
    voxel_um: float | None = None,
    outliers: bool = True,
    rings: bool = True,
    beam_hardening: bool = True,
    sharpen: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Reconstruction:
    """Reconstruct a tomography run.

    Parameters
    ----------
    run : a run of databroker or Tiled, which stands for all parts of its scan if that was interrupted and resumed;
        an iterable of (name, document); or a list of runs or iterables: parts.
    correct : find the shifts of the views from the data first (:func:`recon.correct_geometry`).
    volume_shape, voxel_um : in place of those in the run's geometry.
    outliers, rings : replace readings that counting forbids, take off what pixels misread all through the scan.
    beam_hardening : straighten the line integrals of a specimen of one absorbing material and voids
        (:func:`recon.beam_hardening_correction`).
    sharpen : undo the blur of the focal spot whose shape the run tells (:func:`recon.sharpen`).
    progress : called with the stage ("reading", "alignment", "reconstruction") and the finished fraction of it.
    options : for :func:`recon.sart`; ``support`` is the free-standing specimen's own cylinder unless given.

    Missing and doubled frames are named in a warning and reconstructed around.

    Raises
    ------
    ValueError in one sentence: no tomography, no flats, no projections, a frame file that is missing or cut off,
    nothing known of the focal spot that is to be undone.
    """
    prepared = prepare_run(run, progress, outliers=outliers, rings=rings)
    if correct:
        prepared = replace(prepared, geometry=correct_run(prepared, progress))
    if beam_hardening:
        straighten(prepared)
    if sharpen:
        unblur(prepared, _stage(progress, STAGES[1]))
    return reconstruct(
        prepared,
        correct=False,
        volume_shape=volume_shape,
        voxel_um=voxel_um,
        progress=progress,
        **options,
    )


def prepare_run(run: Any, progress: Progress | None = None, *, outliers: bool = True, rings: bool = True) -> Prepared:
    """Line integrals of a run, or of the parts of one scan; arguments and errors as for :func:`from_run`."""
    return prepare(_scans(run), progress, outliers=outliers, rings=rings)


def _scans(run: Any) -> list[TomographyScan]:
    """What the parts hold; one that was interrupted before its first projection adds nothing to the others."""
    parts = [_gathered(part) for part in _parts(run)]
    if not parts:
        raise ValueError("run: got no part, needs at least one")
    return [part.scan() for part in parts if part.has_projections] or [parts[0].scan()]


def _gathered(run: Any) -> TomographyConsumer:
    consumer = TomographyConsumer()
    for name, doc in documents_of(run):
        consumer(name, doc)
    return consumer


def _parts(run: Any) -> list[Any]:
    """A list of parts; a list of (name, document) pairs is one part; a run in a catalogue has all parts beside it."""
    if isinstance(run, list | tuple) and not (run and isinstance(run[0], list | tuple) and isinstance(run[0][0], str)):
        return list(run)
    return parts_of(run) if hasattr(run, "documents") else [run]


def correct_run(prepared: Prepared, progress: Progress | None = None) -> Geometry:
    """The geometry that the views themselves and the reference images tell (:func:`recon.correct_geometry`)."""
    return correct_geometry(
        prepared.p,
        prepared.geometry,
        weights=prepared.weights,
        times_s=prepared.times_s if np.isfinite(prepared.times_s).all() else None,
        reference=prepared.reference,
        reference_times_s=prepared.reference_times_s,
        progress=_stage(progress, STAGES[1]),
    )


def reconstruct(
    prepared: Prepared,
    *,
    correct: bool = True,
    volume_shape: tuple[int, int, int] | None = None,
    voxel_um: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Reconstruction:
    """Geometry correction and SART of prepared data; arguments as for :func:`from_run`."""
    geometry = prepared.geometry
    if correct:
        geometry = correct_run(prepared, progress)
    geometry = replace(
        geometry,
        volume_shape=geometry.volume_shape if volume_shape is None else volume_shape,
        voxel_um=geometry.voxel_um if voxel_um is None else voxel_um,
    )
    found_um, field_um = specimen_radius_um(prepared.p, geometry), field_of_view_um(geometry)
    radius_um = field_um if found_um is None else min(BLUR_ROOM * found_um, field_um)
    margin, cut_y, cut_x = slices_beyond(geometry, radius_um), 0, 0
    if options.get("initial") is not None:
        options["initial"] = np.pad(options["initial"], [(margin, margin), (0, 0), (0, 0)])
    elif options.get("support") is None:
        options["support"] = radius_um
        cut_y, cut_x = columns_outside(geometry, radius_um)
    nz, ny, nx = geometry.volume_shape
    if options.get("guide") is not None:
        options["guide"] = _held(options["guide"], margin, cut_y, cut_x)
    held = replace(geometry, volume_shape=(nz + 2 * margin, ny - 2 * cut_y, nx - 2 * cut_x))
    result = sart(prepared.p, held, weights=prepared.weights, progress=_stage(progress, STAGES[2]), **options)
    volume = result.volume[margin : margin + nz]
    if cut_y or cut_x:
        inner, volume = volume, np.zeros(geometry.volume_shape, np.float32)
        volume[:, cut_y : ny - cut_y, cut_x : nx - cut_x] = inner
    return Reconstruction(volume, geometry, result.residuals, prepared.times_s, result.seconds, prepared.uids)


def _held(volume: NDArray[np.float32], margin: int, cut_y: int, cut_x: int) -> NDArray[np.float32]:
    """A volume (z, y, x) as wide as the support, its outermost slices carried on over ``margin`` at either end."""
    _, ny, nx = volume.shape
    inner = volume[:, cut_y : ny - cut_y, cut_x : nx - cut_x]
    return np.pad(inner, [(margin, margin), (0, 0), (0, 0)], mode="edge")


def _stage(progress: Progress | None, stage: str) -> Callable[[float], None] | None:
    return None if progress is None else lambda fraction: progress(stage, fraction)
