"""From the frames of a scan to line integrals, read block by block.

The order of the steps; each relies on those before it:

1. subtract darks, divide by flats at the time and beam current of the view, take the logarithm; bad, saturated and
   unreadable pixels are filled from their neighbours and get no weight (:func:`block_integrals`)
2. leave out views that show no usable image of the specimen (:mod:`recon.frames.view_selection`)
3. ``outliers``: replace single readings that counting statistics exclude (:mod:`recon.frames.outliers`)
4. fix the beam of each view by the open air beside the specimen (:func:`recon.frames.flat_field.level_air`)
5. ``rings``: remove errors of pixels that last through the scan (:mod:`recon.frames.rings`)

Beam hardening needs a first volume in the corrected geometry and is corrected after that
(:func:`correct_beam_hardening`); the blur of the focal spot is removed last (:func:`remove_blur`) because that
amplifies the noise. A live reconstruction (:mod:`recon.live`) uses the same steps on the views that it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.beam_hardening import BeamHardening, beam_hardening_correction
from recon.algorithms.focal_spot import FocalSpot, sharpen
from recon.frames.data_warnings import format_list, warn
from recon.frames.documents import FrameSet, TomographyScan, merge_scans
from recon.frames.flat_field import FlatField, Float, clean, level_air, relative_weights
from recon.frames.view_selection import ViewSelection
from recon.kernels.progress import STAGES, Fraction, Progress
from xrm_sims.geometry import Geometry


@dataclass(frozen=True)
class Prepared:
    """Line integrals of one scan by angle (angle, row, column), with what is known of each view; weights are 0 to 1."""

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
    """Read the frames of all parts of a scan, block by block, and compute line integrals.

    Warns of views and readings that are not used. Raises ValueError naming the file and frame that is missing or cut
    off, frames that do not fit the geometry, flats without an open beam, or a scan with fewer than two usable views.
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
    selection = ViewSelection(angles)
    references, reference_times = [], []
    best = 0.0  # inverse variance that gets weight 1 at first, so that half precision holds all weights
    done = 0
    for part, scan in enumerate(scans):
        where = np.flatnonzero(owner == part)
        where = where[np.argsort(number[where])]  # in the order of the file
        frames = scan.projections.chosen(number[where])
        current_known = 2 * int((frames.current_na > 0).sum()) >= len(frames)
        field = flat_field(scan, current_known=current_known)
        best = best or float(np.median(field.open_beam)) / field.variance_per_count
        for block, integrals, precision in block_integrals(scan.uid, field, frames, where, selection):
            p[where[block]], weights[where[block]] = integrals, precision / np.float32(best)
            done += len(integrals)
            if progress is not None:
                progress(STAGES[0], done / len(angles))
        times[where] = frames.time_s
        if len(scan.references):
            references.append(field.integrals(scan.references.read(), view_currents(scan.uid, field, scan.references)))
            reference_times.append(scan.references.time_s)
    kept = selection.select(first.uid)
    p, weights = _kept_only(p, kept), _kept_only(weights, kept)
    parts = [np.flatnonzero(owner[kept] == part) for part in range(len(scans))]
    clean(p, weights, parts, variance=1 / best, outliers=outliers, rings=rings)
    for reference in references:
        level_air(*reference)
    spot = first.start.get("beam", {}).get("focal_spot")
    return Prepared(
        geometry=replace(first.geometry, angles_deg=angles[kept]),
        p=p,
        weights=relative_weights(weights),
        times_s=times[kept],
        reference=np.concatenate([r for r, _ in references]) if references else None,
        reference_times_s=np.concatenate(reference_times) if references else np.zeros(0),
        uids=tuple(scan.uid for scan in scans),
        focal_spot=None if spot is None else FocalSpot.from_dict(spot),
    )


def flat_field(scan: TomographyScan, *, current_known: bool = True) -> FlatField:
    """Read the flats and darks of a scan; the beam current is used where all flats have one and ``current_known``."""
    flats, darks = scan.flats, scan.darks
    counts = flats.read()
    if counts.shape[1:] != scan.geometry.detector_shape:
        raise ValueError(
            f"run {scan.uid}: frames of {counts.shape[1:]} pixels, its geometry says {scan.geometry.detector_shape}"
        )
    try:
        return FlatField(
            counts,
            darks.read() if len(darks) else None,
            current_na=flats.current_na if current_known and (flats.current_na > 0).all() else None,
            bad_pixels=scan.bad_pixels,
            times_s=flats.time_s if np.isfinite(flats.time_s).all() else None,
            counter_end=scan.counter_end if np.isfinite(scan.counter_end) else None,
        )
    except ValueError as error:
        raise ValueError(f"run {scan.uid}: {error}") from error


def block_integrals(
    uid: str, field: FlatField, frames: FrameSet, views: NDArray[np.int64], selection: ViewSelection
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield which of the frames, their line integrals and inverse variances, block by block.

    ``selection`` records what the frames look like, under the numbers of their ``views``.
    """
    current = view_currents(uid, field, frames)
    times_s = frames.time_s if np.isfinite(frames.time_s).all() else None
    for block, counts in frames.blocks():
        beam = np.ones(len(counts)) if current is None else current[block]
        selection.record(views[block], counts, beam, field.bad, field.counter_end)
        when = None if times_s is None else times_s[block]
        yield block, *field.integrals(counts, None if current is None else beam, when)


def view_currents(uid: str, field: FlatField, frames: FrameSet) -> NDArray[np.float64] | None:
    """Return the beam current of each frame in nA, or None where that of the flats is unknown.

    A frame without a current gets that of the frames before and after it, with a warning.
    """
    if field.reference_na is None:
        return None
    known = frames.current_na > 0
    if not known.all():
        warn(
            f"run {uid}: no beam current at {format_list(frames.angle_deg[~known], ' deg')}; taken from the frames "
            "before and after"
        )
    place = np.arange(len(frames))
    currents = frames.current_na[known] if known.any() else [field.reference_na]
    return np.asarray(np.interp(place, place[known] if known.any() else [0], currents))


def correct_beam_hardening(prepared: Prepared) -> BeamHardening:
    """Correct ``p`` and ``weights`` in place for beam hardening in the corrected geometry; return the correction."""
    hardening = beam_hardening_correction(prepared.p, prepared.geometry, weights=prepared.weights)
    hardening.correct(prepared.p, prepared.weights)
    relative_weights(prepared.weights)
    return hardening


def remove_blur(prepared: Prepared, progress: Fraction | None = None) -> None:
    """Remove the blur of the focal spot from ``p`` in place; ValueError when the run does not hold the spot's shape."""
    if prepared.focal_spot is None:
        raise ValueError(
            f"run {prepared.uids[0]}: its start document does not give the shape of the focal spot, needs shares and "
            "sigma_um in beam.focal_spot; reconstruct it without sharpening"
        )
    sharpen(prepared.p, prepared.geometry, prepared.focal_spot, progress=progress)


def _kept_only(stack: NDArray[Float], kept: NDArray[np.int64]) -> NDArray[Float]:
    """Return the views kept (ascending), moved to the front so that no second stack is needed."""
    if len(kept) < len(stack):
        for n, view in enumerate(kept):
            stack[n] = stack[view]
    return stack[: len(kept)]
