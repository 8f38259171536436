"""Reconstruct a finished run, or several parts of one scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.sart import sart
from recon.alignment.geometry_correction import correct_geometry
from recon.alignment.moments import specimen_radius_um
from recon.frames.documents import TomographyConsumer, documents_of
from recon.frames.prepare import Prepared, correct_beam_hardening, prepare, remove_blur
from recon.kernels.argument_checks import checked_array
from recon.kernels.progress import STAGES, Progress, progress_of_stage
from recon.kernels.support import resized, solver_geometry, support_radius_um
from xrm_sims.data.catalog import parts_of
from xrm_sims.geometry import Geometry


@dataclass(frozen=True)
class Reconstruction:
    """A volume (z, y, x) in 1/um, the geometry (with view shifts) it was made with, and times_s of the views."""

    volume: NDArray[np.float32]
    geometry: Geometry
    residuals: NDArray[np.float64]
    times_s: NDArray[np.float64]
    seconds: float
    uids: tuple[str, ...]

    @property
    def shifts_px(self) -> NDArray[np.float64]:
        """Displacement (n, 2) of each image along (row, column)."""
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
    run : a run of databroker or Tiled, with all parts of its scan if that was interrupted and resumed; an iterable of
        (name, document); or a list of runs or iterables, the parts of one scan.
    correct : find the shifts of the views from the data first (:func:`recon.correct_geometry`).
    volume_shape, voxel_um : used instead of those in the run's geometry.
    outliers, rings : replace readings that counting statistics exclude, remove lasting errors of pixels.
    beam_hardening : correct the line integrals of a specimen of one absorbing material and voids
        (:func:`recon.beam_hardening_correction`).
    sharpen : remove the blur of the focal spot, whose shape the run must hold (:func:`recon.sharpen`).
    progress : called with the stage ("reading", "alignment", "reconstruction") and the finished fraction of it.
    options : for :func:`recon.sart`; the default ``support`` is the cylinder of a free-standing specimen.

    Missing and doubled frames are named in a warning; the volume is made without them.

    Raises
    ------
    ValueError for a run that is no tomography, without flats or projections, with a frame file that is missing or cut
    off, or without the shape of the focal spot where ``sharpen`` needs it.
    """
    prepared = prepare_run(run, progress, outliers=outliers, rings=rings)
    if correct:
        prepared = replace(prepared, geometry=correct_run(prepared, progress))
    if beam_hardening:
        correct_beam_hardening(prepared)
    if sharpen:
        remove_blur(prepared, progress_of_stage(progress, STAGES[1]))
    return reconstruct(prepared, volume_shape=volume_shape, voxel_um=voxel_um, progress=progress, **options)


def prepare_run(run: Any, progress: Progress | None = None, *, outliers: bool = True, rings: bool = True) -> Prepared:
    """Compute line integrals of a run, or of the parts of one scan; arguments and errors as for :func:`from_run`."""
    parts = _parts(run)
    if not parts:
        raise ValueError("run: got no part, needs at least one")
    consumers = [TomographyConsumer() for _ in parts]
    for part, consumer in zip(parts, consumers, strict=True):
        for name, doc in documents_of(part):
            consumer(name, doc)
    # a part that was interrupted before its first projection is left out
    scans = [part.scan() for part in consumers if part.has_projections] or [consumers[0].scan()]
    return prepare(scans, progress, outliers=outliers, rings=rings)


def _parts(run: Any) -> list[Any]:
    """Return the parts of a scan. A list of (name, document) is one part; a catalogue holds all parts of a run."""
    if isinstance(run, list | tuple) and not (run and isinstance(run[0], list | tuple) and isinstance(run[0][0], str)):
        return list(run)
    return parts_of(run) if hasattr(run, "documents") else [run]


def correct_run(prepared: Prepared, progress: Progress | None = None) -> Geometry:
    """Return the geometry found from the views and the reference images (:func:`recon.correct_geometry`)."""
    return correct_geometry(
        prepared.p,
        prepared.geometry,
        weights=prepared.weights,
        times_s=prepared.times_s if np.isfinite(prepared.times_s).all() else None,
        reference=prepared.reference,
        reference_times_s=prepared.reference_times_s,
        progress=progress_of_stage(progress, STAGES[1]),
    )


def reconstruct(
    prepared: Prepared,
    *,
    volume_shape: tuple[int, int, int] | None = None,
    voxel_um: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Reconstruction:
    """Reconstruct prepared data in their geometry by SART; arguments as for :func:`from_run`."""
    grid: dict[str, Any] = {"volume_shape": volume_shape, "voxel_um": voxel_um}
    geometry = replace(prepared.geometry, **{name: value for name, value in grid.items() if value is not None})
    radius_um = support_radius_um(geometry, specimen_radius_um(prepared.p, geometry))
    trim = options.get("initial") is None and options.get("support") is None
    if trim:
        options["support"] = radius_um
    extended = solver_geometry(geometry, radius_um, trim=trim)
    for name, mode in (("initial", "constant"), ("guide", "edge")):
        if options.get(name) is not None:
            given = checked_array(name, options[name], geometry.volume_shape)
            options[name] = _extended(given, extended.volume_shape, mode)
    stage = progress_of_stage(progress, STAGES[2])
    result = sart(prepared.p, extended, weights=prepared.weights, progress=stage, **options)
    volume = resized(result.volume, geometry.volume_shape)
    return Reconstruction(volume, geometry, result.residuals, prepared.times_s, result.seconds, prepared.uids)


def _extended(volume: NDArray[np.float32], shape: tuple[int, int, int], mode: Any) -> NDArray[np.float32]:
    """Trim the columns of a volume (z, y, x) to this shape and pad its slices, with zeros or the outermost ones."""
    margin = (shape[0] - len(volume)) // 2
    return np.pad(resized(volume, (len(volume), *shape[1:])), [(margin, margin), (0, 0), (0, 0)], mode=mode)
