"""What a data root holds of one experiment: its runs, and every result computed from them.

A result that is missing or unreadable is left out; ``missing`` then names it, with the command that computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.common.html import local_time
from xrm_sims.app.common.rasters import labels_of
from xrm_sims.app.maps.phases import load_phases
from xrm_sims.app.report.runs import Run, read_run
from xrm_sims.app.tomography.figures import Measured
from xrm_sims.app.tomography.live import LATEST
from xrm_sims.app.tomography.tomogram import Tomogram, kept_tomogram, pillar_of
from xrm_sims.correlate.phases.chemistry import Chemistry
from xrm_sims.correlate.phases.phases import has_phase_channels
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.ranking import Roi
from xrm_sims.correlate.volume.segment import PillarFit
from xrm_sims.data import Experiment, open_experiment, read_counts, read_raster, results
from xrm_sims.data.catalog import as_catalog, by_time
from xrm_sims.data.layout import Layout
from xrm_sims.scan_type import ScanType

T = TypeVar("T")


@dataclass(eq=False)
class Map:
    """A SIMS raster (all its parts): counts, registration, target ROI, SE images, phases."""

    run: Run
    sims: Measured | None
    registration: Registration | None = None
    tomography_uid: str | None = None
    defect: Defect | None = None
    top_view: Measured | None = None  # of the pillar, before milling
    close_up: Measured | None = None  # of the milled field
    phases: Chemistry | None = None
    links: Sequence[Mapping[str, Any]] = ()  # the steps from a voxel to a pixel, as app/correlative stores them


@dataclass(eq=False)
class Scan:
    """A tomography (all its parts) and the results computed from it."""

    run: Run
    tomogram: Tomogram | None
    pillar: PillarFit | None
    rois: list[Roi] | None  # None if the volume was not searched
    rule: Mapping[str, Any]
    figures: Mapping[str, Any]  # edge_resolution and half_bit_crossing, where they were measured

    @property
    def defects(self) -> list[Defect]:
        return [roi.defect for roi in self.rois or ()]


@dataclass(eq=False)
class Holdings:
    """Runs and results of one experiment; :meth:`scan` and :meth:`map` add to ``missing``."""

    experiment: Experiment
    data: Path
    runs: list[Run]
    missing: list[str] = field(default_factory=list)

    @property
    def uid(self) -> str:
        return self.experiment.uid

    @property
    def sample(self) -> str:
        """Every specimen name in the start documents."""
        names = dict.fromkeys(str(run.start.get("sample_name", "")) for run in self.runs)
        return ", ".join(name for name in names if name) or "unnamed specimen"

    @property
    def run_names(self) -> str:
        """The types of run, in the order of their first run."""
        return ", ".join(dict.fromkeys(run.name for run in self.runs))

    @property
    def day(self) -> str:
        return local_time(self.runs[0].start["time"], "%Y-%m-%d")

    @property
    def span_s(self) -> tuple[float, float] | None:
        """Start of the first and end of the last run on the instrument's clock, if any run records them."""
        spans = [run.span_s for run in self.runs if run.span_s]
        return (min(begin for begin, _ in spans), max(end for _, end in spans)) if spans else None

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The metadata of every stored result."""
        return [dict(node.metadata) for of_run in self.experiment.results.values() for node in of_run.values()]

    def parents_of(self, uid: str, kind: str) -> list[str]:
        """Return the uids of the runs that a result was computed from, without a result none."""
        of_run = self.experiment.results.get(uid, {})
        return list(of_run[kind].metadata.get("parent_uids", [])) if kind in of_run else []

    def first_parts(self, kind: str) -> list[Run]:
        """Return one run for each measurement of a kind, without the runs that continue one."""
        return [run for run in self.runs if run.kind == kind and "resumes_uid" not in run.start]

    def scan(self, run: Run) -> Scan:
        """Read a tomography's volume, ROIs and figures."""
        way = f"Compute it with xrm-sims reconstruct {run.short}"
        tomogram = self._read(run, "volume", way, lambda: kept_tomogram(run.uid, self.data))
        if tomogram is None:
            return Scan(run, None, None, None, {}, self._figures(run.uid))
        way = f"Compute it with xrm-sims find-rois {run.short}"
        rois, rule = self._read(run, "rois", way, lambda: self._rois(run.uid)) or (None, {})
        pillar = pillar_of(tomogram.volume, tomogram.voxel_um)
        return Scan(run, tomogram, pillar, rois, rule, self._figures(run.uid))

    def _rois(self, uid: str) -> tuple[list[Roi], Mapping[str, Any]]:
        kept = results.load(self.data, uid, "rois")
        return [Roi.from_row(row) for row in kept.tables["rois"].to_dict("records")], kept.metadata.get("rule", {})

    def map(self, run: Run) -> Map:
        """Read a raster's counts and the results that belong to them."""
        found = Map(run, self.attempt(f"counts of {run.short}", lambda: read_raster(run.uid, self.data)))
        way = "The night step register and the plan correlative compute it"
        about = self._read(run, "registration", way, lambda: results.load(self.data, run.uid, "registration").metadata)
        if about is not None:
            found.registration = self.attempt(f"registration of {run.short}", lambda: Registration.from_dict(about))
            found.defect = Defect.from_dict(about["defect"]) if "defect" in about else None
            starts = {each.uid: each.start for each in self.runs if each.kind == ScanType.TOMOGRAPHY}
            parents = [uid for uid in about["parent_uids"] if uid in starts]
            if parents:
                found.tomography_uid = starts[parents[0]].get("resumes_uid", parents[0])
            else:
                self.missing.append(f"Map {run.short} was registered with a volume of another experiment.")
            if has_phase_channels(labels_of(run.start)):
                found.phases = self._read(run, "phases", way, lambda: load_phases(run.uid, self.data))
        if "chain" in (of_run := self.experiment.results.get(run.uid, {})):
            found.links = of_run["chain"].metadata["links"]
        found.top_view, found.close_up = self._images(run)
        return found

    def _images(self, raster: Run) -> tuple[Measured | None, Measured | None]:
        """Return the first SE image before any milling, and the last one between milling and raster."""
        earlier = [run for run in self.runs if run.start["time"] < raster.start["time"]]
        milled = [run.start["time"] for run in earlier if run.kind == ScanType.MILLING]
        images = [run for run in earlier if run.kind == ScanType.SE_IMAGE and run.stop]
        before = [run for run in images if not milled or run.start["time"] < milled[0]]
        after = [run for run in images if milled and run.start["time"] > milled[-1]]
        return self._image(before[0] if before else None), self._image(after[-1] if after else None)

    def _image(self, run: Run | None) -> Measured | None:
        if run is None:
            return None
        return self.attempt(f"image of {run.short}", lambda: read_counts(run.uid, "se_image", self.data))

    def _figures(self, uid: str) -> dict[str, Any]:
        """Return the resolutions that were measured of a volume."""
        of_run = self.experiment.results.get(uid, {})
        tables = [dict(of_run[kind].metadata) for kind in ("volume", "resolution") if kind in of_run]
        names = ("edge_resolution", "half_bit_crossing")
        return {name: table[name] for table in tables for name in names if name in table}

    def _read(self, run: Run, kind: str, way: str, read: Callable[[], T]) -> T | None:
        """Return a stored result, or None and note in ``missing`` how to compute it or why it could not be read."""
        if kind in self.experiment.results.get(run.uid, {}):
            return self.attempt(f"{kind} of {run.short}", read)
        self.missing.append(f"Run {run.short} has no {kind} yet. {way}.")
        return None

    def attempt(self, what: str, read: Callable[[], T]) -> T | None:
        """Return what ``read`` returns, or None and note in ``missing`` why it could not be read."""
        try:
            return read()
        except (ValueError, KeyError, TypeError, OSError, RuntimeError, httpx.HTTPError) as error:
            self.missing.append(f"{what}: cannot be shown ({in_one_line(error)})")
            return None


def open_holdings(experiment: str, data: Path | None) -> Holdings:
    """Return the experiment with this uid, or that of the run with this uid, or for "latest" that of the newest run.

    Raises ValueError for an unknown uid, for a data root without runs, and for an experiment without any result, map
    or image.
    """
    layout = Layout.of(data)
    catalog = as_catalog(data)
    if not len(catalog):
        raise ValueError(f"data root {layout.root} has no runs in its catalogue; measure something first")
    uid = by_time(catalog)[-1].metadata["start"]["uid"] if experiment == LATEST else experiment
    found = open_experiment(uid, data)
    runs = [read_run(run.metadata["start"], run.metadata.get("stop"), layout.journal) for run in found.runs]
    if not found.results and not any(run.kind in (ScanType.SIMS_RASTER, ScanType.SE_IMAGE) for run in runs):
        tomographies = [run.short for run in runs if run.kind == ScanType.TOMOGRAPHY]
        advice = f"; begin with xrm-sims reconstruct {tomographies[0]}" if tomographies else ""
        raise ValueError(f"experiment {found.uid} has no results, maps or images to show{advice}")
    return Holdings(found, layout.root, runs)
