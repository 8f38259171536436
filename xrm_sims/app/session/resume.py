"""From the uid of an interrupted run to the plan that takes what is missing, and only that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import plans
from plans.stubs import NothingLeftError, Plan
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part, find_parts
from xrm_sims.scan_type import ScanType

SCAN_DOSE = "fib_scan_dose_nc"
A_TRACE = 1e-6  # of a frame's dose: what sums of doses differ by


def resume_run(scope: Any, run: str, data: Path | None, announce: Callable[[str], object]) -> Plan[str]:
    """A plan for what a measurement is missing: views of a tomography, frames of a raster, dose of a milling.

    Parameters
    ----------
    run : uid of any part of it, or the first characters of it.
    announce : hears what is there, and what the specimen has lost without its being kept.

    Raises ValueError for an unknown run, one that still goes on and one that cannot be resumed; the plan raises
    NothingLeftError when nothing is missing.
    """
    parts = find_parts(Layout.of(data).journal, run)
    start = parts[0].start
    for part in parts:
        if not part.ended:
            raise ValueError(f"run {part.uid}: has not ended; end it first, or after a crash: xrm-sims recover")
        specimen, mounted = part.before.get("specimen", scope.specimen.get()), scope.specimen.get()
        if specimen != mounted:
            raise ValueError(f"run {part.uid}: measured {specimen}, and {mounted} is mounted; bring that one in first")
    kind = start.get("scan_type", start.get("plan_name", "run"))
    if kind not in _RESUMES:
        raise ValueError(f"run {parts[0].uid}: is a {kind}, which is taken in one go; take it again")
    return _RESUMES[kind](scope, parts, announce)


def finish_run(scope: Any, run: str, data: Path | None, announce: Callable[[str], object]) -> Plan[str | None]:
    """What an interrupted night wants: the measurement whole, whatever was there of it already.

    Returns the uid of its first part; None for a measurement that is taken in one go and is not there. Raises
    ValueError as :func:`resume_run` does, and when the specimen has lost all of a raster.
    """
    first, *_ = find_parts(Layout.of(data).journal, run)
    if first.start.get("scan_type") not in _RESUMES:
        return first.uid if len(first.taken) >= first.start["num_points"] else None
    with suppress(NothingLeftError):
        yield from resume_run(scope, run, data, announce)
    whole = find_parts(Layout.of(data).journal, run)
    if first.start["scan_type"] == ScanType.SIMS_RASTER and not any(part.taken for part in whole):
        raise ValueError(f"raster {first.uid[:8]}: the specimen has lost every frame without its being kept")
    return first.uid


def _tomography(scope: Any, parts: list[Part], announce: Callable[[str], object]) -> Plan[str]:
    start = parts[0].start
    done = {part.start["view_indices"][number - 1] for part in parts for number in part.taken}
    announce(f"tomography {parts[0].uid[:8]}: {len(done)} of {start['num_projections']} views are there")
    return plans.resume_tomography(scope, start, done)


def _raster(scope: Any, parts: list[Part], announce: Callable[[str], object]) -> Plan[str]:
    start = parts[0].start
    done, lost = set(), set()
    for part in parts:
        frames = part.start["frame_indices"]
        done |= {frames[number - 1] for number in part.taken}
        drawn = _scan_dose_nc(scope, part) / start["frame_dose_nc"]
        lost |= {frame for place, frame in enumerate(frames) if place + A_TRACE < drawn}
    lost -= done
    announce(f"raster {parts[0].uid[:8]}: {len(done)} of {start['frames']} frames are there")
    if lost:
        numbers = ", ".join(str(frame + 1) for frame in sorted(lost))
        announce(f"the specimen has lost frame {numbers} without its being kept; it is not drawn again")
    return plans.resume_sims_raster(scope, start, done, lost)


def _milling(scope: Any, parts: list[Part], announce: Callable[[str], object]) -> Plan[str]:
    start, done_nc = parts[0].start, sum(_scan_dose_nc(scope, part) for part in parts)
    announce(f"{start['scan_type']} {parts[0].uid[:8]}: {done_nc:.4g} nC are on the pattern")
    plan = plans.resume_deposit if start["scan_type"] == ScanType.DEPOSITION else plans.resume_mill
    return plan(scope, start, done_nc)


_RESUMES: dict[str, Callable[..., Plan[str]]] = {
    ScanType.TOMOGRAPHY: _tomography,
    ScanType.SIMS_RASTER: _raster,
    ScanType.MILLING: _milling,
    ScanType.DEPOSITION: _milling,
}


def _scan_dose_nc(scope: Any, part: Part) -> float:
    """What the scans of a run have brought onto the specimen; one that does not tell was the last that scanned."""
    if not part.before:
        return 0.0  # nothing moves before the instrument's state is noted
    after_nc = part.after[SCAN_DOSE] if part.after else scope.fib.scan_dose_nc.get()
    return float(after_nc - part.before[SCAN_DOSE])
