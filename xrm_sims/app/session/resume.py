"""Return the plan that measures only what an interrupted run is missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import plans
from devices import Instrument
from plans.stubs import NothingLeftError, Plan
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part, find_parts
from xrm_sims.scan_type import ScanType

SCAN_DOSE = "fib_scan_dose_nc"
DOSE_TOLERANCE = 1e-6  # of a frame's dose: rounding errors of summed doses


def resume_run(scope: Instrument, run: str, data: Path | None, announce: Callable[[str], object]) -> Plan[str]:
    """Return a plan for the missing views of a tomography, frames of a raster, or dose of a milling.

    Parameters
    ----------
    run : uid of any part of the run, or its first characters.
    announce : called with a line about what was measured, and about frames that were drawn but not stored.

    Raises ValueError for an unknown run, a run that has not ended and a run that cannot be resumed. The plan raises
    NothingLeftError when nothing is missing.
    """
    parts = find_parts(Layout.of(data).journal, run)
    start = parts[0].start
    for part in parts:
        if not part.ended:
            raise ValueError(f"run {part.uid}: has not ended; stop it first, or after a crash: xrm-sims recover")
        specimen, mounted = part.before.get("specimen", scope.specimen.get()), scope.specimen.get()
        if specimen != mounted:
            raise ValueError(f"run {part.uid}: measured {specimen}, and {mounted} is mounted; mount {specimen} first")
    kind = start.get("scan_type", start.get("plan_name", "run"))
    if kind not in _RESUMES:
        raise ValueError(f"run {parts[0].uid}: is a {kind}, which cannot be resumed; measure it again")
    return _RESUMES[kind](scope, parts, announce)


def finish_run(scope: Instrument, run: str, data: Path | None, announce: Callable[[str], object]) -> Plan[str | None]:
    """Complete a measurement of an interrupted night, whatever part of it is already there.

    Returns the uid of its first part; None for an incomplete measurement that cannot be resumed. Raises ValueError as
    :func:`resume_run` does, and when no frame of a raster was stored although all were drawn.
    """
    first, *_ = find_parts(Layout.of(data).journal, run)
    if first.start.get("scan_type") not in _RESUMES:
        return first.uid if len(first.taken) >= first.start["num_points"] else None
    with suppress(NothingLeftError):
        yield from resume_run(scope, run, data, announce)
    whole = find_parts(Layout.of(data).journal, run)
    if first.start["scan_type"] == ScanType.SIMS_RASTER and not any(part.taken for part in whole):
        raise ValueError(f"raster {first.uid[:8]}: every frame was drawn on the specimen and none was stored")
    return first.uid


def _tomography(scope: Instrument, parts: list[Part], announce: Callable[[str], object]) -> Plan[str]:
    start = parts[0].start
    done = {part.start["view_indices"][number - 1] for part in parts for number in part.taken}
    announce(f"tomography {parts[0].uid[:8]}: {len(done)} of {start['num_projections']} views were measured")
    return plans.resume_tomography(scope, start, done)


def _raster(scope: Instrument, parts: list[Part], announce: Callable[[str], object]) -> Plan[str]:
    start = parts[0].start
    done, lost = set(), set()
    for part in parts:
        frames = part.start["frame_indices"]
        done |= {frames[number - 1] for number in part.taken}
        drawn = _scan_dose_nc(scope, part) / start["frame_dose_nc"]
        lost |= {frame for place, frame in enumerate(frames) if place + DOSE_TOLERANCE < drawn}
    lost -= done
    announce(f"raster {parts[0].uid[:8]}: {len(done)} of {start['frames']} frames were measured")
    if lost:
        numbers = ", ".join(str(frame + 1) for frame in sorted(lost))
        announce(f"frame {numbers} was drawn on the specimen but not stored; it is not drawn again")
    return plans.resume_sims_raster(scope, start, done, lost)


def _milling(scope: Instrument, parts: list[Part], announce: Callable[[str], object]) -> Plan[str]:
    start, done_nc = parts[0].start, sum(_scan_dose_nc(scope, part) for part in parts)
    announce(f"{start['scan_type']} {parts[0].uid[:8]}: {done_nc:.4g} nC of the pattern were drawn")
    plan = plans.resume_deposit if start["scan_type"] == ScanType.DEPOSITION else plans.resume_mill
    return plan(scope, start, done_nc)


_RESUMES: dict[str, Callable[..., Plan[str]]] = {
    ScanType.TOMOGRAPHY: _tomography,
    ScanType.SIMS_RASTER: _raster,
    ScanType.MILLING: _milling,
    ScanType.DEPOSITION: _milling,
}


def _scan_dose_nc(scope: Instrument, part: Part) -> float:
    """Return the ion dose of a run's scans; a run without a final reading was the last that scanned."""
    if not part.before:
        return 0.0  # no scan starts before the first reading
    after_nc = part.after[SCAN_DOSE] if part.after else scope.fib.scan_dose_nc.get()
    return float(after_nc - part.before[SCAN_DOSE])
