"""One run as the report describes it: its type, parameters, times and doses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrm_sims.app.common.rasters import labels_of
from xrm_sims.data.journal import find_journal, read_journal
from xrm_sims.data.parts import part_of
from xrm_sims.data.run_summary import RunSummary
from xrm_sims.scan_type import ScanType

_EXPOSED_STREAMS = ("primary", "flat", "reference")  # of a tomography, taken with the electron beam on


@dataclass(frozen=True, eq=False)
class Run:
    """A run of the experiment; ``before`` and ``after`` are the baseline readings, empty where none were recorded."""

    start: Mapping[str, Any]
    stop: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    target_charge_nc: float = 0.0

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def short(self) -> str:
        return self.uid[:8]

    @property
    def kind(self) -> str:
        return str(self.start.get("scan_type", self.start.get("plan_name", "run")))

    @property
    def name(self) -> str:
        return _TYPES[self.kind][0] if self.kind in _TYPES else self.kind.replace("_", " ")

    @property
    def purpose(self) -> str:
        return _TYPES[self.kind][1] if self.kind in _TYPES else f"plan {self.start.get('plan_name', 'unknown')}"

    @property
    def outcome(self) -> str:
        if not self.stop:
            return "never ended"
        reason = f": {self.stop['reason']}" if self.stop.get("reason") else ""
        return f"{'done' if self.stop['exit_status'] == 'success' else self.stop['exit_status']}{reason}"

    @property
    def span_s(self) -> tuple[float, float] | None:
        """Start and end on the instrument's clock; None where the run does not record them."""
        key = "instrument_time_s"
        return (self.before[key], self.after[key]) if key in self.before and key in self.after else None

    @property
    def specimen_dose_nc(self) -> float | None:
        """Charge that the ion beam's scans brought to the specimen."""
        key = "fib_scan_dose_nc"
        return self.after[key] - self.before[key] if key in self.before and key in self.after else None

    @property
    def doses(self) -> list[str]:
        doses = []
        if self.target_charge_nc:
            doses.append(f"{self.target_charge_nc / 1e6:.3g} mC of electrons on the target")
        if self.specimen_dose_nc:
            doses.append(f"{self.specimen_dose_nc:.4g} nC of ions on the specimen")
        return doses

    @property
    def parameters(self) -> str:
        """The main parameters of the scan in one line."""
        try:
            return _TYPES[self.kind][2](self.start) if self.kind in _TYPES else str(self.start.get("plan_name", ""))
        except (KeyError, TypeError, ValueError):  # a run of another plan, or an imported one
            return "not recorded"


def read_run(start: Mapping[str, Any], stop: Mapping[str, Any] | None, journals: Path) -> Run:
    """Return a run of the catalogue with the readings from its journal, without them where the journal is gone."""
    try:
        run = RunSummary(read_journal(find_journal(journals, start["uid"])))
        part = part_of(run)
        return Run(start, stop or {}, part.before, part.after, _target_charge_nc(run))
    except ValueError:
        return Run(start, stop or {}, {}, {})


def _target_charge_nc(run: RunSummary) -> float:
    """Return the electron charge on the X-ray target: the sum over frames of current times exposure."""
    exposure_s = run.start_doc.get("exposure_s", 0.0)
    return sum((e["data"].get("beam_current_na", 0.0) * exposure_s for e in run.events_of(*_EXPOSED_STREAMS)), 0.0)


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


def _pattern(start: Mapping[str, Any]) -> str:
    pattern = start["pattern"]
    size = f" {pattern['size_um'][0]:g} × {pattern['size_um'][1]:g} µm" if "size_um" in pattern else ""
    return f"{pattern['kind'].replace('_', ' ')}{size}, {pattern['depth_um']:.2f} µm, {start['current_pa']:g} pA"


def _image(start: Mapping[str, Any]) -> str:
    rows, columns = start["shape"]
    source = f", {start['source']} beam" if "source" in start else ""
    return f"{rows} × {columns} pixels over {start['fov_um']:g} µm{source}"


# name, purpose and parameters of each type of run
_TYPES: dict[str, tuple[str, str, Callable[[Mapping[str, Any]], str]]] = {
    ScanType.TOMOGRAPHY: (
        "nanoCT scan",
        "X-ray projections from all sides, from which the volume is reconstructed",
        _tomography,
    ),
    ScanType.SIMS_RASTER: (
        "SIMS map",
        "counts of secondary ions for each isotope while the ion beam scans the field",
        _sims,
    ),
    ScanType.MILLING: ("milling", "the ion beam removes the material above the plane of interest", _pattern),
    ScanType.DEPOSITION: ("platinum deposition", "a protective layer from the gas injector", _pattern),
    ScanType.SE_IMAGE: ("SE image", "secondary electrons show where the specimen lies in the scan", _image),
    ScanType.EDS_MAP: ("EDS map", "characteristic X-rays of each element under the electron beam", _image),
}
