"""From the frames of a scan to line integrals, read block by block.

The order of the steps, each of which can be told from the ones before it:

1. darks off, flats at the time and beam current of the view, logarithm; bad, saturated and unreadable pixels are filled
   from their neighbours and not trusted (:class:`recon.frames.flat_field.FlatField`)
2. views that are not what they should be are named and left out (:mod:`recon.screening`)
3. ``outliers``: single readings that counting forbids are replaced and not trusted (:mod:`recon.outliers`)
4. the open air beside the specimen fixes the beam of each view (:func:`recon.preparation.level_air`)
5. ``rings``: errors of pixels that last all through the scan are taken off (:mod:`recon.rings`)

Beam hardening needs a first volume in the corrected geometry and comes after that (:func:`straighten`); the blur of the
focal spot is undone last (:func:`unblur`), since it lifts the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.beam_hardening import BeamHardening, beam_hardening_correction
from recon.algorithms.focal_spot import FocalSpot, sharpen
from recon.frames.documents import FrameSet, TomographyScan, merge_scans
from recon.frames.flat_field import FlatField, Float, level_air, trust
from recon.frames.outliers import remove_outliers
from recon.frames.reports import listed, report
from recon.frames.rings import remove_rings
from recon.frames.screening import Screening
from xrm_sims.geometry import Geometry

Progress = Callable[[str, float], None]
STAGES = ("reading", "alignment", "reconstruction")


@dataclass(frozen=True)
class Prepared:
    """Line integrals of one scan by angle, with what is known of each view; weights are trust from 0 to 1."""

    geometry: Geometry
    p: NDArray[np.float32]
    weights: NDArray[np.floating]
    times_s: NDArray[np.float64]
    reference: NDArray[np.float32] | None
    reference_times_s: NDArray[np.float64]
    uids: tuple[str, ...]
    focal_spot: FocalSpot | None = None


def prepare(
    scans: list[TomographyScan], progress: Progress | None = None, *, outliers: bool = True, rings: bool = True
) -> Prepared:
    """Read the frames of all parts of a scan, block by block, and turn them into line integrals.

    Warns of views and readings that are not used. Raises ValueError naming the file and frame that is missing or cut
    off, frames that do not fit the geometry, flats without an open beam, or a scan that has hardly a view left.
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
    p, weights, times = np.empty(shape, np.float32), np.empty(shape, np.float16), np.empty(len(angles))
    owner, number = np.array(chosen, int).reshape(-1, 2).T
    screening = Screening(angles)
    references, reference_times = [], []
    best = 0.0  # inverse variance that becomes weight 1 at first, so that half precision holds them all
    done = 0
    for part, scan in enumerate(scans):
        where = np.flatnonzero(owner == part)
        where = where[np.argsort(number[where])]  # in the order of the file
        frames = scan.projections.chosen(number[where])
        current, flat_current = _currents(scan, frames)
        field = _flat_field(scan, flat_current)
        best = best or float(np.median(field.open_beam)) / field.variance_per_count
        when = frames.time_s if np.isfinite(frames.time_s).all() else None
        for block, counts in frames.blocks():
            views = where[block]
            screening.look(views, counts, current[block], field.bad, field.counter_end)
            p[views], precision = field.integrals(
                counts, None if flat_current is None else current[block], None if when is None else when[block]
            )
            weights[views] = precision / np.float32(best)
            done += len(counts)
            if progress is not None:
                progress(STAGES[0], done / len(angles))
        times[where] = frames.time_s
        if len(scan.references):
            beam = None if flat_current is None else _currents(scan, scan.references)[0]
            references.append(field.integrals(scan.references.read(), beam))
            reference_times.append(scan.references.time_s)
    kept = screening.keep(first.uid)
    p, weights = _only(p, kept), _only(weights, kept)
    if outliers:
        remove_outliers(p, weights, variance=1 / best)
    level_air(p, weights)
    if rings:
        for part in range(len(scans)):
            remove_rings(p, weights, np.flatnonzero(owner[kept] == part))
    for reference in references:
        level_air(*reference)
    return Prepared(
        geometry=replace(first.geometry, angles_deg=angles[kept]),
        p=p,
        weights=trust(weights),
        times_s=times[kept],
        reference=np.concatenate([r for r, _ in references]) if references else None,
        reference_times_s=np.concatenate(reference_times) if references else np.zeros(0),
        uids=tuple(scan.uid for scan in scans),
        focal_spot=_focal_spot(first.start),
    )


def _focal_spot(start: dict[str, Any]) -> FocalSpot | None:
    told = start.get("beam", {}).get("focal_spot")
    return None if told is None else FocalSpot.from_dict(told)


def straighten(prepared: Prepared) -> BeamHardening:
    """Correct ``p`` and ``weights`` in place for beam hardening, once the geometry is known; returns what was found."""
    hardening = beam_hardening_correction(prepared.p, prepared.geometry, weights=prepared.weights)
    hardening.correct(prepared.p, prepared.weights)
    trust(prepared.weights)
    return hardening


def unblur(prepared: Prepared, progress: Callable[[float], None] | None = None) -> None:
    """Undo the blur of the focal spot in ``p``, in place; ValueError when the run does not tell the spot's shape."""
    if prepared.focal_spot is None:
        raise ValueError(
            f"run {prepared.uids[0]}: its start document does not tell the shape of the focal spot, needs shares and "
            "sigma_um in beam.focal_spot; reconstruct it without sharpening"
        )
    sharpen(prepared.p, prepared.geometry, prepared.focal_spot, progress=progress)


def _currents(scan: TomographyScan, frames: FrameSet) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Beam current of each projection (ones when nobody knows) and of each flat (then None).

    A frame without a current gets that of the frames before and after it, and is named.
    """
    known = frames.current_na > 0
    if not (scan.flats.current_na > 0).all() or 2 * np.count_nonzero(known) < len(frames):
        return np.ones(len(frames)), None
    if not known.all():
        report(
            f"run {scan.uid}: no beam current at {listed(frames.angle_deg[~known], ' deg')}; taken from the frames "
            "before and after"
        )
    place = np.arange(len(frames))
    return np.asarray(np.interp(place, place[known], frames.current_na[known])), scan.flats.current_na


def _flat_field(scan: TomographyScan, current_na: NDArray[np.float64] | None) -> FlatField:
    flats = scan.flats.read()
    if flats.shape[1:] != scan.geometry.detector_shape:
        raise ValueError(
            f"run {scan.uid}: frames of {flats.shape[1:]} pixels, its geometry says {scan.geometry.detector_shape}"
        )
    try:
        return FlatField(
            flats,
            scan.darks.read() if len(scan.darks) else None,
            current_na=current_na,
            bad_pixels=scan.bad_pixels,
            times_s=scan.flats.time_s if np.isfinite(scan.flats.time_s).all() else None,
            counter_end=scan.counter_end if np.isfinite(scan.counter_end) else None,
        )
    except ValueError as error:
        raise ValueError(f"run {scan.uid}: {error}") from error


def _only(stack: NDArray[Float], kept: NDArray[np.int64]) -> NDArray[Float]:
    """The views kept (ascending), moved to the front: no second stack."""
    if len(kept) < len(stack):
        for n, view in enumerate(kept):
            stack[n] = stack[view]
    return stack[: len(kept)]
