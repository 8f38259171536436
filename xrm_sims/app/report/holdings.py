"""What a data root holds of one experiment: its runs, and everything that was computed from them.

What is not there, or cannot be read, is left out with a sentence that says what would bring it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.common.rasters import labels_of
from xrm_sims.app.maps.phases import kept_phases
from xrm_sims.app.report.runs import Run, read_run
from xrm_sims.app.tomography.figures import Measured
from xrm_sims.app.tomography.live import LATEST
from xrm_sims.app.tomography.tomogram import Tomogram, kept_tomogram, pillar_of
from xrm_sims.correlate.phases.chemistry import Chemistry
from xrm_sims.correlate.phases.phases import tells_phases
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.ranking import Roi
from xrm_sims.correlate.volume.segment import PillarFit
from xrm_sims.data import Experiment, open_experiment, read_counts, read_raster, results
from xrm_sims.data.catalog import as_catalog
from xrm_sims.data.layout import Layout
from xrm_sims.scan_type import ScanType

T = TypeVar("T")


@dataclass(eq=False)
class Map:
    """A SIMS raster (all its parts): counts, where they lie in which volume, the ROI it was taken for, SE images, and
    the phases that it shows."""

    run: Run
    sims: Measured | None
    registration: Registration | None = None
    tomography_uid: str | None = None
    defect: Defect | None = None
    top_view: Measured | None = None  # of the pillar, before anything was milled
    close_up: Measured | None = None  # of the milled field
    phases: Chemistry | None = None
    links: Sequence[Mapping[str, Any]] = ()  # from a voxel to a pixel, as app/links keeps them


@dataclass(eq=False)
class Scan:
    """A tomography (all its parts) and what was computed from it."""

    run: Run
    tomogram: Tomogram | None
    pillar: PillarFit | None
    searched: bool  # for ROIs
    rois: list[Roi]
    rule: Mapping[str, Any]
    figures: Mapping[str, Any]  # edge_resolution, half_bit_crossing, where they were measured

    @property
    def defects(self) -> list[Defect]:
        return [roi.defect for roi in self.rois]


@dataclass(eq=False)
class Holdings:
    """Of one experiment; ``missing`` fills up as :meth:`scan` and :meth:`map` look for things."""

    experiment: Experiment
    data: Path
    runs: list[Run]
    missing: list[str] = field(default_factory=list)

    @property
    def uid(self) -> str:
        return self.experiment.uid

    @property
    def sample(self) -> str:
        """Every name that the runs give their specimen."""
        names = dict.fromkeys(str(run.start.get("sample_name", "")) for run in self.runs)
        return ", ".join(name for name in names if name) or "unnamed specimen"

    @property
    def measured(self) -> str:
        """What kinds of run there are, in their order."""
        return ", ".join(dict.fromkeys(run.name for run in self.runs))

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.localtime(self.runs[0].start["time"]))

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """What every kept result says about itself."""
        return [dict(node.metadata) for of_run in self.experiment.results.values() for node in of_run.values()]

    def parents_of(self, uid: str, kind: str) -> list[str]:
        """What a kept result rests on; nothing where there is none."""
        of_run = self.experiment.results.get(uid, {})
        return list(of_run[kind].metadata.get("parent_uids", [])) if kind in of_run else []

    def first_parts(self, kind: str) -> list[Run]:
        """One run for each measurement of a kind, however many parts it has."""
        return [run for run in self.runs if run.kind == kind and "resumes_uid" not in run.start]

    def scan(self, run: Run) -> Scan:
        """A tomography's volume, ROIs and figures; the volume is read here."""
        short = run.uid[:8]
        tomogram, pillar, kept = None, None, None
        if self._kept(run.uid, "volume", f"xrm-sims reconstruct {short}"):
            tomogram = self.attempt(f"volume of {short}", lambda: kept_tomogram(run.uid, self.data))
        if tomogram is not None:
            pillar = pillar_of(tomogram.volume, tomogram.voxel_um)
            if self._kept(run.uid, "rois", f"xrm-sims find-rois {short}"):
                kept = self.attempt(f"ROIs of {short}", lambda: results.load(self.data, run.uid, "rois"))
        rows = [] if kept is None else kept.tables["rois"].to_dict("records")
        rois = self.attempt(f"ROIs of {short}", lambda: [Roi.from_row(row) for row in rows]) or []
        rule = {} if kept is None else kept.metadata.get("rule", {})
        return Scan(run, tomogram, pillar, kept is not None, rois, rule, self._figures(run.uid))

    def map(self, run: Run) -> Map:
        """A raster's counts and what belongs to them."""
        short = run.uid[:8]
        found = Map(run, self.attempt(f"counts of {short}", lambda: read_raster(run.uid, self.data)))
        kept = None
        if self._kept(run.uid, "registration", "the step register of a night, or a correlative run, makes one"):
            kept = self.attempt(f"registration of {short}", lambda: results.load(self.data, run.uid, "registration"))
        if kept is not None:
            about = kept.metadata
            found.registration = self.attempt(f"registration of {short}", lambda: Registration.from_dict(about))
            found.defect = Defect.from_dict(about["defect"]) if "defect" in about else None
            found.tomography_uid = self._scan_of(about["parent_uids"])
            if found.tomography_uid is None:
                self.missing.append(f"the volume that map {short} was registered with is not of this experiment")
            if tells_phases(labels_of(run.start)) and self._kept(
                run.uid, "phases", "the step register of a night, or a correlative run, makes them"
            ):
                found.phases = self.attempt(f"phases of {short}", lambda: kept_phases(run.uid, self.data))
        if "chain" in (of_run := self.experiment.results.get(run.uid, {})):
            found.links = of_run["chain"].metadata["links"]
        found.top_view, found.close_up = self._images(run)
        return found

    def _scan_of(self, parents: Sequence[str]) -> str | None:
        """The first part of the tomography that is among the parents of a result."""
        first = {run.uid: run.start.get("resumes_uid", run.uid) for run in self.runs if run.kind == ScanType.TOMOGRAPHY}
        return next((first[uid] for uid in parents if uid in first), None)

    def _images(self, raster: Run) -> tuple[Measured | None, Measured | None]:
        """The first SE image before anything was milled, and the last one between milling and raster."""
        earlier = [run for run in self.runs if run.start["time"] < raster.start["time"]]
        milled = [run.start["time"] for run in earlier if run.kind == ScanType.MILLING]
        images = [run for run in earlier if run.kind == ScanType.SE_IMAGE and run.stop]
        before = [run for run in images if not milled or run.start["time"] < milled[0]]
        after = [run for run in images if milled and run.start["time"] > milled[-1]]
        return self._image(before[0] if before else None), self._image(after[-1] if after else None)

    def _image(self, run: Run | None) -> Measured | None:
        if run is None:
            return None
        return self.attempt(f"image of {run.uid[:8]}", lambda: read_counts(run.uid, "se_image", self.data))

    def _figures(self, uid: str) -> dict[str, Any]:
        """How sharp it is, as far as anybody measured that."""
        of_run = self.experiment.results.get(uid, {})
        told = [dict(of_run[kind].metadata) for kind in ("volume", "resolution") if kind in of_run]
        wanted = ("edge_resolution", "half_bit_crossing", "voxel_um")
        return {name: about[name] for about in told for name in wanted if name in about}

    def _kept(self, uid: str, kind: str, way: str) -> bool:
        if kind in self.experiment.results.get(uid, {}):
            return True
        self.missing.append(f"no {kind} of run {uid[:8]} was computed yet: {way}")
        return False

    def attempt(self, what: str, read: Callable[[], T]) -> T | None:
        """None, and a word on it, where something is incomplete, from elsewhere, or gone from the disk."""
        try:
            return read()
        except (ValueError, KeyError, TypeError, OSError, RuntimeError, httpx.HTTPError) as error:
            self.missing.append(f"{what}: cannot be shown ({in_one_line(error)})")
            return None


def open_holdings(experiment: str, data: Path | None) -> Holdings:
    """The experiment with this uid, or the one of the run with this uid; "latest" is that of the newest run.

    Raises ValueError for an unknown uid and for a data root without runs, and when there is nothing to show yet: no
    result, no map and no image.
    """
    layout = Layout.of(data)
    catalog = as_catalog(data)
    if not len(catalog):
        raise ValueError(f"data root {layout.root} has no runs in its catalogue; measure something first")
    word = catalog[-1].metadata["start"]["uid"] if experiment == LATEST else experiment
    found = open_experiment(word, data)
    told = [run.metadata for run in found.runs]
    runs = [read_run(about["start"], about.get("stop"), layout.journal) for about in told]
    if not found.results and not any(run.kind in (ScanType.SIMS_RASTER, ScanType.SE_IMAGE) for run in runs):
        advice = next(
            (f"; begin with xrm-sims reconstruct {run.uid[:8]}" for run in runs if run.kind == ScanType.TOMOGRAPHY), ""
        )
        raise ValueError(f"experiment {found.uid}: nothing was computed of it yet and it has no images to show{advice}")
    return Holdings(found, layout.root, runs)
