"""Runs to volumes: a finished run, several parts of one scan, or a run that is being taken right now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.alignment import correct_geometry, specimen_radius_um
from recon.documents import TomographyConsumer, TomographyScan, documents_of, merge_scans
from recon.preparation import FlatField, level_air, trust
from recon.sart import field_of_view_um, sart
from xrm_sims.geometry import ConeGeometry

Progress = Callable[[str, float], None]
STAGES = ("reading", "alignment", "reconstruction")


@dataclass(frozen=True)
class Prepared:
    """Line integrals of one scan by angle, with what is known of each view."""

    geometry: ConeGeometry
    p: NDArray[np.float32]
    weights: NDArray[np.float32]
    times_s: NDArray[np.float64]
    reference: NDArray[np.float32] | None
    reference_times_s: NDArray[np.float64]
    uids: tuple[str, ...]


@dataclass(frozen=True)
class Reconstruction:
    """volume (z, y, x) in 1/um in the geometry (with its view shifts) that it was made with; times_s of the views."""

    volume: NDArray[np.float32]
    geometry: ConeGeometry
    residuals: NDArray[np.float64]
    times_s: NDArray[np.float64]
    seconds: float
    uids: tuple[str, ...]

    @property
    def shifts_px(self) -> NDArray[np.float64]:
        """(n, 2) displacement of each image along (row, column)."""
        shifts = self.geometry.view_shifts_px
        return np.zeros((self.geometry.num_views, 2)) if shifts is None else shifts


def prepare(scans: list[TomographyScan], progress: Progress | None = None) -> Prepared:
    """Read the frames of all parts of a scan, block by block, and turn them into line integrals.

    Raises ValueError naming the file and frame that is missing or cut off.
    """
    first = scans[0]
    for scan in scans[1:]:
        if scan.geometry.detector_shape != first.geometry.detector_shape:
            raise ValueError(
                f"run {scan.uid}: frames of {scan.geometry.detector_shape} pixels, the first part has "
                f"{first.geometry.detector_shape}; parts of one scan need the same detector"
            )
    angles, chosen = merge_scans(scans)
    shape = (len(angles), *first.geometry.detector_shape)
    p, weights, times = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(len(angles))
    references, reference_times = [], []
    done = 0
    for part, scan in enumerate(scans):
        known = all(np.isfinite(s.current_na).all() for s in (scan.flats, scan.projections, scan.references))
        field = FlatField(
            scan.flats.read(),
            scan.darks.read() if len(scan.darks) else None,
            current_na=scan.flats.current_na if known else None,
            bad_pixels=scan.bad_pixels,
        )
        where = np.array([n for n, (owner, _) in enumerate(chosen) if owner == part], int)
        frames = scan.projections.chosen(np.array([chosen[n][1] for n in where], int))
        for block, counts in frames.blocks():
            p[where[block]], weights[where[block]] = field.integrals(
                counts, frames.current_na[block] if known else None
            )
            done += len(counts)
            if progress is not None:
                progress(STAGES[0], done / len(angles))
        times[where] = frames.time_s
        if len(scan.references):
            references.append(field.integrals(scan.references.read(), scan.references.current_na if known else None))
            reference_times.append(scan.references.time_s)
    level_air(p, weights)
    for reference in references:
        level_air(*reference)
    return Prepared(
        geometry=replace(first.geometry, angles_deg=angles),
        p=p,
        weights=trust(weights),
        times_s=times,
        reference=np.concatenate([r for r, _ in references]) if references else None,
        reference_times_s=np.concatenate(reference_times) if references else np.zeros(0),
        uids=tuple(scan.uid for scan in scans),
    )


def from_run(
    run: Any,
    *,
    correct: bool = True,
    volume_shape: tuple[int, int, int] | None = None,
    voxel_um: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Reconstruction:
    """Reconstruct a tomography run.

    Parameters
    ----------
    run : a run of databroker or Tiled (anything with ``documents()``), an iterable of (name, document), or a list of
        those: the parts of one scan that was interrupted and resumed.
    correct : find the shifts of the views from the data first (:func:`recon.correct_geometry`).
    volume_shape, voxel_um : in place of those in the run's geometry.
    progress : called with the stage ("reading", "alignment", "reconstruction") and the finished fraction of it.
    options : for :func:`recon.sart`; ``support`` is the free-standing specimen's own cylinder unless given.

    Missing and doubled frames are named in a warning and reconstructed around.

    Raises
    ------
    ValueError in one sentence: no tomography, no flats, no projections, a frame file that is missing or cut off.
    """
    scans = [_scan_of(part) for part in _parts(run)]
    if not scans:
        raise ValueError("run: got no part, needs at least one")
    return reconstruct(
        prepare(scans, progress),
        correct=correct,
        volume_shape=volume_shape,
        voxel_um=voxel_um,
        progress=progress,
        **options,
    )


def _scan_of(run: Any) -> TomographyScan:
    consumer = TomographyConsumer()
    for name, doc in documents_of(run):
        consumer(name, doc)
    return consumer.scan()


def _parts(run: Any) -> list[Any]:
    """A list of parts; a list of (name, document) pairs is one part."""
    if isinstance(run, list | tuple) and not (run and isinstance(run[0], list | tuple) and isinstance(run[0][0], str)):
        return list(run)
    return [run]


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
        geometry = correct_geometry(
            prepared.p,
            geometry,
            weights=prepared.weights,
            times_s=prepared.times_s if np.isfinite(prepared.times_s).all() else None,
            reference=prepared.reference,
            reference_times_s=prepared.reference_times_s,
            progress=_stage(progress, STAGES[1]),
        )
    geometry = replace(
        geometry,
        volume_shape=geometry.volume_shape if volume_shape is None else volume_shape,
        voxel_um=geometry.voxel_um if voxel_um is None else voxel_um,
    )
    radius_um = specimen_radius_um(prepared.p, geometry)
    if radius_um is not None and radius_um < field_of_view_um(geometry):
        options = {"support": radius_um} | options
    margin = _slices_beyond(geometry)
    nz, ny, nx = geometry.volume_shape
    taller = replace(geometry, volume_shape=(nz + 2 * margin, ny, nx))
    if options.get("initial") is not None:
        options["initial"] = np.pad(options["initial"], ((margin, margin), (0, 0), (0, 0)))
    result = sart(prepared.p, taller, weights=prepared.weights, progress=_stage(progress, STAGES[2]), **options)
    volume = np.ascontiguousarray(result.volume[margin : margin + nz])
    return Reconstruction(volume, geometry, result.residuals, prepared.times_s, result.seconds, prepared.uids)


def _slices_beyond(geometry: ConeGeometry) -> int:
    """Slices above and below the volume that some view sees because its image moved or its rays lean.

    Without them what lies there is piled up in the outermost slices.
    """
    radius_um = field_of_view_um(geometry)
    half_um = 0.5 * geometry.volume_shape[0] * geometry.voxel_um
    lean_um = half_um * radius_um / (geometry.source_object_mm * 1e3)
    rows_px = 0.0 if geometry.view_shifts_px is None else float(np.abs(geometry.view_shifts_px[:, 0]).max())
    moved_um = rows_px * geometry.pixel_mm * 1e3 / geometry.magnification
    return int(np.ceil((lean_um + moved_um) / geometry.voxel_um)) + 1


def _stage(progress: Progress | None, stage: str) -> Callable[[float], None] | None:
    return None if progress is None else lambda fraction: progress(stage, fraction)


class LiveReconstruction:
    """Subscribe it to a RunEngine: it gathers each tomography run and reconstructs it in a thread when it ends.

    >>> live = LiveReconstruction()
    >>> RE.subscribe(live)
    >>> RE(tomography(scope))
    >>> live.result().volume

    Parameters
    ----------
    on_result : called in that thread with each finished :class:`Reconstruction`.
    options : for :func:`from_run`.
    """

    def __init__(self, on_result: Callable[[Reconstruction], None] | None = None, **options: Any) -> None:
        self._on_result = on_result
        self._options = options
        self._consumer: TomographyConsumer | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reconstruction")
        self._latest: Future[Reconstruction] | None = None
        self._started = threading.Event()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._consumer = TomographyConsumer() if doc.get("scan_type") == "tomography" else None
        if self._consumer is None:
            return
        self._consumer(name, doc)
        if name == "stop":
            consumer, self._consumer = self._consumer, None
            if doc.get("num_events", {}).get("primary", 0):
                self._latest = self._pool.submit(self._reconstruct, consumer)
                self._started.set()

    def result(self, timeout_s: float | None = None) -> Reconstruction:
        """The reconstruction of the last run that ended, when it is done; its error if it failed.

        Raises TimeoutError when no run has ended within ``timeout_s``.
        """
        if not self._started.wait(timeout_s) or self._latest is None:
            raise TimeoutError("no tomography run has ended yet")
        return self._latest.result(timeout_s)

    def _reconstruct(self, consumer: TomographyConsumer) -> Reconstruction:
        done = reconstruct(prepare([consumer.scan()], self._options.get("progress")), **self._options)
        if self._on_result is not None:
            self._on_result(done)
        return done
