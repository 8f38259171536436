"""The computations between the measurements of the correlative plan: reconstruct, choose, align, verify, register.

Each result is kept at ``/results/<uid of its run>`` before the plan continues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from plans import Aim
from plans.ions import sims_request
from xrm_sims.app.common.progress import timed
from xrm_sims.app.common.rasters import inner_field, raster_of_image
from xrm_sims.app.correlative.findings import Choices, Experiment, Findings, Height, align_by_outline
from xrm_sims.app.maps.phases import make_phases
from xrm_sims.app.maps.sims_maps import make_maps, save_maps
from xrm_sims.app.planner import Planner, find_map
from xrm_sims.app.tomography.tomogram import Ct, Tomogram, reconstruct_tomogram
from xrm_sims.correlate.registration.active_material import se_active, sims_active
from xrm_sims.correlate.registration.register import Registration, combine, register_to_ct
from xrm_sims.correlate.volume.defects import find_defects
from xrm_sims.correlate.volume.ranking import COLUMNS, Roi, best_roi, rank_rois
from xrm_sims.correlate.volume.segment import Segmentation, coordinates_um, segment
from xrm_sims.data import read_counts, results
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Rectangle
from xrm_sims.settings import Settings

DOSE_SHARE = 0.12  # relative uncertainty of a depth from its dose, because the share of binder varies
FIELD_UM = (14.0, 18.0)  # of the map: narrower ones register worse, wider ones take longer to mill
MARGIN_UM = 0.5  # shown around the particle
SPENT_SHARE = 0.25  # of the ROI's height: the map sputters no more of it


@dataclass
class Analysis:
    """The functions of a correlative experiment on a data root, and the seconds they took."""

    data: Path
    settings: Settings
    choices: Choices = field(default_factory=Choices)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def alignment(self) -> dict[str, Any]:
        """The functions that :func:`plans.dig_and_map` takes."""
        return {"align": self.align, "verify": self.verify, "register": self.register}

    def reconstruct(self, uid: str) -> Tomogram:
        """Reconstruct a tomography run and keep its result ``volume``."""
        with timed("reconstruction", self.seconds):
            return reconstruct_tomogram(uid, self.data, sweeps=self.choices.sweeps, relaxation=self.choices.relaxation)

    def choose(self, tomogram: Tomogram) -> Aim[Findings]:
        """Return the aim at the best defect. ValueError when there is none."""
        segmentation, rois = self.find(tomogram)
        return self.aim(Findings(tomogram, segmentation, rois, best_roi(rois, self.choices.analysis.rois)))

    def find(self, tomogram: Ct) -> tuple[Segmentation, list[Roi]]:
        """Find particles and numbered ROIs of a volume; keep the table as the run's result ``rois``."""
        import pandas

        analysis = self.choices.analysis
        with timed("defect search", self.seconds):
            segmentation = segment(tomogram.volume, tomogram.voxel_um, analysis.segmentation)
            defects = find_defects(tomogram.volume, tomogram.voxel_um, analysis.defects, segmentation)
            rois = rank_rois(defects, analysis.rois)
        table = pandas.DataFrame([roi.as_row() for roi in rois], columns=list(COLUMNS))
        about = {"rule": analysis.rois.model_dump(mode="json"), "voxel_um": tomogram.voxel_um}
        results.save(self.data, tomogram.uid, "rois", metadata=about, tables={"rois": table})
        return segmentation, rois

    def align(self, aim: Aim[Findings], se_uid: str) -> Aim[Findings]:
        """Aim in the ion beam's scan frame, by the pillar's outline in an ion image; keep its result ``alignment``."""
        found = aim.about
        return self.aim(
            replace(found, scan_to_specimen=align_by_outline(found, se_uid, self.data, self.choices.analysis.outline))
        )

    def verify(self, aim: Aim[Findings], se_uid: str) -> Aim[Findings]:
        """Register an ion image of the milled plane, keep its result ``plane``, and aim at what is left to mill.

        The height of the plane is the mean of the heights from image and dose, weighted by their variances. Raises
        ValueError when the registration is not certain, when image and dose contradict each other, when the height is
        too uncertain, and when the plane is so deep that the defect is mostly gone.
        """
        found = aim.about
        image, start = read_counts(se_uid, "se_image", self.data)
        counts, raster = inner_field(image[0], raster_of_image(start), aim.fov_um)
        by_dose = Height(found.surface.z_um - aim.mill.depth_um, aim.mill.depth_um * DOSE_SHARE).widened(found.surface)
        with timed("registration", self.seconds):
            seen = register_to_ct(
                se_active(counts),
                found.tomogram.volume,
                found.tomogram.voxel_um,
                raster,
                by_dose.z_um,
                found.scan_to_specimen,
                self.choices.analysis.registration.after_milling(),
                self.choices.analysis.segmentation,
            )
        surface = by_dose.mean(Height.seen(seen))
        now = replace(found, scan_to_specimen=seen.scan_to_specimen, milled=surface, seen=seen)
        about = {**seen.as_dict(), "by_dose_z_um": by_dose.z_um, "surface_z_um": surface.z_um}
        about |= {"surface_sigma_um": surface.sigma_um, "wanted_z_um": found.plane_z_um}
        results.save(self.data, se_uid, "plane", metadata=about, parents=start["parent_uids"])
        self._check_plane(now)
        left_um = surface.z_um - now.plane_z_um
        here = replace(aim, centre_um=self._in_scan(now), about=now)
        if left_um <= self.choices.plane_tolerance_um:
            return replace(here, reached=True)
        step_um = left_um if left_um <= self.choices.last_step_um else 0.5 * left_um
        return replace(here, mill=self._box(now, step_um, aim.mill.centre_um))  # within the walls of the first box

    def _check_plane(self, found: Findings) -> None:
        surface, wanted_um = found.surface, found.plane_z_um
        if surface.sigma_um > self.choices.sure_of_plane_um:
            raise ValueError(
                f"plane: its height is uncertain by {surface.sigma_um:.2f} um, and milling needs "
                f"{self.choices.sure_of_plane_um:g} um; take a larger field or a slower image"
            )
        if surface.z_um < found.spared_z_um:
            raise ValueError(
                f"plane: it lies at {surface.z_um:.2f} um, {wanted_um - surface.z_um:.2f} um below the middle of the "
                f"{found.defect.kind}, which is mostly gone; milling stopped; choose another ROI"
            )

    def register(self, result: Experiment) -> Registration:
        """Register the SIMS raster with the CT volume; keep the registration, the corrected maps and the phases.

        If the ion image of the same plane was registered too, position and height are the means of both. Raises
        ValueError as :func:`register_to_ct`, and when both registrations contradict each other.
        """
        found, analysis = result.chosen.about, self.choices.analysis
        maps = make_maps(result.uids["sims"], self.data, self.settings, drift=analysis.drift)
        save_maps(maps, self.data)
        raster = maps.raster
        with timed("registration", self.seconds):
            registration = register_to_ct(
                sims_active(maps.image),
                found.tomogram.volume,
                found.tomogram.voxel_um,
                raster,
                found.surface.z_um if found.seen is not None else found.plane_z_um,
                found.scan_to_specimen,
                analysis.registration,
                analysis.segmentation,
            )
        comparison: dict[str, Any] = {}
        if found.seen is not None:
            height = found.surface.mean(Height.seen(registration))
            registration, comparison["se_apart_nm"] = combine(registration, found.seen, raster)
            registration = replace(registration, exposed_z_um=height.z_um, sigma_z_um=height.sigma_um)
        about = {**registration.as_dict(), **comparison, "defect": found.defect.as_dict()}
        parents = [result.uids["tomography"], result.latest("milling")]
        results.save(self.data, maps.uid, "registration", metadata=about, parents=parents)
        make_phases(maps, registration, found.segmentation, self.data, self.settings, parents, analysis)
        return registration

    def aim(self, found: Findings) -> Aim[Findings]:
        """Return the box to mill down to the middle of the chosen ROI, the field to map, and the map's arguments."""
        centre_um, fov_um = self._in_scan(found), self._fov_um(found)
        box = self._box(found, found.surface.z_um - found.plane_z_um, centre_um)
        return Aim(mill=box, fov_um=fov_um, centre_um=centre_um, about=found, sims_args=self._sims_args(found, fov_um))

    def _fov_um(self, found: Findings) -> float:
        """Return the width that shows the ROI's particle and its surroundings, rounded up to 0.5 um."""
        if self.choices.fov_um is not None:
            return self.choices.fov_um
        wanted_um = 2 * (found.reach_um + MARGIN_UM)
        return float(np.clip(math.ceil(2 * wanted_um) / 2, *FIELD_UM))

    def _sims_args(self, found: Findings, fov_um: float) -> dict[str, Any]:
        """Return pixels, dwell and frames that give the counts and sputter no more than allowed."""
        planner, like = Planner(self.settings), sims_request(self.settings, fov_um=fov_um)
        budget_nm = self.choices.map_depth_nm or self.settings.planning.map_depth_nm
        counts = self.choices.sims_counts or planner.ions_per_pixel(like, "NCA", "58Ni")
        spared_nm = min(budget_nm, 1e3 * SPENT_SHARE * found.height_um)
        asked = find_map(planner, counts, like, spared_nm, self.settings.scan.side_px)
        return {"shape": asked.raster.shape, "dwell_ms": asked.raster.dwell_ms, "frames": asked.frames}

    @staticmethod
    def _in_scan(found: Findings) -> tuple[float, float]:
        """Return the position of the defect in the scan frame of the ion beam."""
        u, v = apply_affine(invert_affine(found.scan_to_specimen), [found.defect.centre_um[:2]])[0]
        return float(u), float(v)

    def _box(self, found: Findings, depth_um: float, centre_um: tuple[float, float]) -> Rectangle:
        size_um = self._fov_um(found) + self.choices.mill_margin_um
        return Rectangle(
            size_um=(size_um, size_um),
            depth_um=depth_um,
            centre_um=centre_um,
            solid_fraction=self._solid_fraction(found, size_um, depth_um),
            passes=self.choices.mill_passes,
        )

    def _solid_fraction(self, found: Findings, size_um: float, depth_um: float) -> float:
        """Return the dose of the box relative to a box full of LCO: active material from CT, binder from the recipe."""
        z, y, x = coordinates_um(found.segmentation.active.shape, found.segmentation.voxel_um)
        cx, cy, _ = found.defect.centre_um
        top_um = found.surface.z_um
        # a step thinner than a voxel has the composition of its surroundings
        half_um = max(0.5 * depth_um, 0.5 * found.segmentation.voxel_um)
        box = np.ix_(
            abs(z - (top_um - 0.5 * depth_um)) <= half_um, abs(y - cy) < size_um / 2, abs(x - cx) < size_um / 2
        )
        active = float(found.segmentation.active[box].mean())
        sputtering = self.settings.sputtering
        binder = sputtering.rate_lco_um3_per_nc / sputtering.rate_binder_um3_per_nc * self.choices.binder_share
        return float(np.clip(active + (1.0 - active) * binder, 0.05, 1.0))
