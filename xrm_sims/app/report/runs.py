"""One run as a colleague is told of it: what it was, when, how long, with which dose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrm_sims.app.common.rasters import labels_of
from xrm_sims.data.journal import find_journal, read_journal
from xrm_sims.data.parts import read_part
from xrm_sims.scan_type import ScanType

NAMES: dict[str, str] = {
    ScanType.TOMOGRAPHY: "nanoCT scan",
    ScanType.SIMS_RASTER: "SIMS map",
    ScanType.MILLING: "milling",
    ScanType.DEPOSITION: "platinum deposition",
    ScanType.SE_IMAGE: "SE image",
    ScanType.EDS_MAP: "EDS map",
}
PURPOSES: dict[str, str] = {
    ScanType.TOMOGRAPHY: "X-ray projections all around, from which the volume is reconstructed",
    ScanType.SIMS_RASTER: "counts of secondary ions, isotope by isotope, while the ion beam goes over the field",
    ScanType.MILLING: "the ion beam takes off what lies above the plane to look at",
    ScanType.DEPOSITION: "a protective layer from the gas injector",
    ScanType.SE_IMAGE: "secondary electrons: shows where the specimen lies in the scan",
    ScanType.EDS_MAP: "characteristic X-rays under the electron beam, element by element",
}
_LIT = ("primary", "flat", "reference")  # streams of a tomography whose frames need the electron beam


@dataclass(frozen=True, eq=False)
class Run:
    """A run of the experiment; ``before`` and ``after`` are the instrument's state (empty where nobody told)."""

    start: Mapping[str, Any]
    stop: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    target_charge_nc: float | None

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def kind(self) -> str:
        return str(self.start.get("scan_type", self.start.get("plan_name", "run")))

    @property
    def name(self) -> str:
        return NAMES.get(self.kind, self.kind.replace("_", " "))

    @property
    def outcome(self) -> str:
        """How it ended, in a word or a few."""
        if not self.stop:
            return "never ended"
        reason = f": {self.stop['reason']}" if self.stop.get("reason") else ""
        return {"success": "done"}.get(self.stop["exit_status"], self.stop["exit_status"]) + reason

    @property
    def wall_s(self) -> float | None:
        return float(self.stop["time"] - self.start["time"]) if self.stop else None

    @property
    def span_s(self) -> tuple[float, float] | None:
        """From when to when on the instrument's clock; None where the run does not tell."""
        key = "instrument_time_s"
        return (self.before[key], self.after[key]) if key in self.before and key in self.after else None

    @property
    def specimen_dose_nc(self) -> float | None:
        """Charge that the ion beam's scans brought to the specimen."""
        key = "fib_scan_dose_nc"
        return self.after[key] - self.before[key] if key in self.before and key in self.after else None

    @property
    def what(self) -> str:
        """What was asked for, in numbers."""
        words = _WORDS.get(self.kind)
        try:
            return words(self.start) if words else str(self.start.get("plan_name", ""))
        except (KeyError, TypeError, ValueError):  # a run of somebody else's plan, or an imported one
            return "its documents do not say"


def read_run(start: Mapping[str, Any], stop: Mapping[str, Any] | None, journals: Path) -> Run:
    """A run of the catalogue with what its journal tells; a journal that is gone leaves that out."""
    try:
        path = find_journal(journals, start["uid"])
        part = read_part(path)
        return Run(start, stop or {}, part.before, part.after, _target_charge_nc(start, read_journal(path)))
    except ValueError:
        return Run(start, stop or {}, {}, {}, None)


def _target_charge_nc(start: Mapping[str, Any], documents: Iterable[tuple[str, dict[str, Any]]]) -> float | None:
    """Electrons on the X-ray target: each frame's current times its exposure."""
    streams: dict[str, str] = {}
    charge_nc = 0.0
    for name, doc in documents:
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event" and streams[doc["descriptor"]] in _LIT:
            charge_nc += doc["data"].get("beam_current_na", 0.0) * start.get("exposure_s", 0.0)
    return charge_nc or None


def _tomography(start: Mapping[str, Any]) -> str:
    beam = start.get("beam", {})
    source = f", {beam['target']} target, {beam['energy_kev']:g} keV, {beam['current_na']:g} nA" if beam else ""
    views = len(start["view_indices"]) if "view_indices" in start else start["num_projections"]
    part = f"{views} of {start['num_projections']}" if views != start["num_projections"] else str(views)
    return f"{part} projections every {start['step_deg']:g}°, {start['exposure_s']:g} s each{source}"


def _sims(start: Mapping[str, Any]) -> str:
    isotopes = ", ".join(labels_of(start))
    rows, columns = start["shape"]
    frames = len(start.get("frame_indices", ())) or start.get("frames", 1)
    return (
        f"{isotopes}; {rows} × {columns} pixels over {start['fov_um']:g} µm, {start['dwell_ms']:g} ms each, "
        f"{frames} frame{'s' if frames != 1 else ''}, {start['current_pa']:g} pA"
    )


def _cut(start: Mapping[str, Any]) -> str:
    pattern = start["pattern"]
    size = f" {pattern['size_um'][0]:g} × {pattern['size_um'][1]:g} µm" if "size_um" in pattern else ""
    return f"{pattern['kind'].replace('_', ' ')}{size}, {pattern['depth_um']:.2f} µm, {start['current_pa']:g} pA"


def _image(start: Mapping[str, Any]) -> str:
    rows, columns = start["shape"]
    source = f", {start['source']} beam" if "source" in start else ""
    return f"{rows} × {columns} pixels over {start['fov_um']:g} µm{source}"


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    ScanType.TOMOGRAPHY: _tomography,
    ScanType.SIMS_RASTER: _sims,
    ScanType.MILLING: _cut,
    ScanType.DEPOSITION: _cut,
    ScanType.SE_IMAGE: _image,
    ScanType.EDS_MAP: _image,
}
