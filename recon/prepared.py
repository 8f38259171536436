"""From the frames of a scan to line integrals, read block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.documents import TomographyScan, merge_scans
from recon.preparation import FlatField, level_air, trust
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
