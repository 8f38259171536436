"""What the correlative plan needs computed between its measurements: reconstruct, choose, align, register.

Every result is kept at ``/results/<uid of the run it comes from>`` before the plan goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plans import Aim, Correlative
from xrm_sims.app.progress import timed
from xrm_sims.app.reconstruction import Tomogram, reconstruct_tomogram
from xrm_sims.correlate.align import locate_pillar, pillar_affine
from xrm_sims.correlate.defects import Defect, find_defects
from xrm_sims.correlate.ranking import COLUMNS, DefectRule, Roi, best_roi, rank_rois
from xrm_sims.correlate.register import Registration, register_sims_to_ct
from xrm_sims.correlate.segment import Segmentation, coordinates_um, segment
from xrm_sims.data import read_counts, read_raster, results
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings


@dataclass(frozen=True)
class Choices:
    """What a user may want otherwise: how to reconstruct, which defect to take, how to dig and map."""

    sweeps: int = 3
    relaxation: float = 1.0  # 23,000 counts in a binned pixel: noise does not ask for less
    rule: DefectRule = field(default_factory=DefectRule)
    fov_um: float = 14.0
    mill_margin_um: float = 5.0  # the walls of the box shade the map within about two micrometres
    mill_passes: int = 10
    binder_share: float = 0.34  # of what is not active material; from the electrode's recipe, CT does not see it


@dataclass(frozen=True, eq=False)
class Findings:
    """What the CT showed, which ROI was chosen, and how scan and specimen hang together as far as is known."""

    tomogram: Tomogram
    segmentation: Segmentation
    rois: list[Roi]
    roi: Roi
    scan_to_specimen: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))

    @property
    def defects(self) -> list[Defect]:
        return [roi.defect for roi in self.rois]

    @property
    def defect(self) -> Defect:
        return self.roi.defect

    @property
    def plane_z_um(self) -> float:
        """Height of the plane to expose: the middle of the defect."""
        return float(self.defect.centre_um[2])


@dataclass
class Analysis:
    """The four functions of a correlative experiment on one data root, and the seconds they took."""

    data: Path
    settings: Settings
    choices: Choices = field(default_factory=Choices)
    seconds: dict[str, float] = field(default_factory=dict)

    def reconstruct(self, uid: str) -> Tomogram:
        """Volume of a tomography run, kept as its result ``volume``."""
        with timed("reconstruction", self.seconds):
            return reconstruct_tomogram(uid, self.data, sweeps=self.choices.sweeps, relaxation=self.choices.relaxation)

    def choose(self, tomogram: Tomogram) -> Aim:
        """The best defect within reach, and the box to mill down to its middle. ValueError when there is none."""
        segmentation, rois = self.find(tomogram)
        return self.aim(Findings(tomogram, segmentation, rois, best_roi(rois, self.choices.rule)))

    def find(self, tomogram: Tomogram) -> tuple[Segmentation, list[Roi]]:
        """Particles and numbered ROIs of a volume; the table is kept as the run's result ``rois``."""
        import pandas

        rule = self.choices.rule
        with timed("defect search", self.seconds):
            segmentation = segment(tomogram.volume, tomogram.voxel_um)
            rois = rank_rois(find_defects(tomogram.volume, tomogram.voxel_um, segmentation=segmentation), rule)
        table = pandas.DataFrame([roi.as_row() for roi in rois], columns=list(COLUMNS))
        about = {"rule": rule.model_dump(mode="json"), "voxel_um": tomogram.voxel_um}
        results.save(self.data, tomogram.uid, "rois", metadata=about, tables={"rois": table})
        return segmentation, rois

    def align(self, aim: Aim, se_uid: str) -> Aim:
        """Where the ion beam's scan frame has the defect, from the pillar's outline in the ion image."""
        found: Findings = aim.about
        image, start = read_counts(se_uid, "se_image", self.data)
        outline = locate_pillar(image[0], start["fov_um"], tuple(start["centre_um"]))
        return self.aim(replace(found, scan_to_specimen=pillar_affine(outline, found.segmentation.pillar)))

    def register(self, result: Correlative) -> Registration:
        """Where the SIMS raster lies in the CT volume."""
        assert result.aim is not None
        found: Findings = result.aim.about
        counts, start = read_raster(result.uids["sims"], self.data)
        with timed("registration", self.seconds):
            registration = register_sims_to_ct(
                counts,
                found.tomogram.volume,
                found.tomogram.voxel_um,
                raster_of(start),
                found.plane_z_um,
                found.scan_to_specimen,
            )
        about = {**registration.as_dict(), "defect": found.defect.as_dict()}
        parents = [result.uids["tomography"], result.uids["milling"]]
        results.save(self.data, start["uid"], "registration", metadata=about, parents=parents)
        return registration

    def aim(self, found: Findings) -> Aim:
        """The box to mill down to the middle of the chosen ROI, and the field to map."""
        x, y, z = (float(value) for value in found.defect.centre_um)
        u, v = apply_affine(invert_affine(found.scan_to_specimen), [[x, y]])[0]
        size_um = self.choices.fov_um + self.choices.mill_margin_um
        box = Rectangle(
            size_um=(size_um, size_um),
            depth_um=found.segmentation.pillar.top_z_um - z,
            centre_um=(float(u), float(v)),
            solid_fraction=self._solid_fraction(found, size_um),
            passes=self.choices.mill_passes,
        )
        return Aim(mill=box, fov_um=self.choices.fov_um, centre_um=box.centre_um, about=found)

    def _solid_fraction(self, found: Findings, size_um: float) -> float:
        """Dose that the box takes relative to one full of LCO: active material seen by CT, binder by recipe."""
        z, y, x = coordinates_um(found.segmentation.active.shape, found.segmentation.voxel_um)
        cx, cy, cz = found.defect.centre_um
        box = np.ix_(
            (z > cz) & (z < found.segmentation.pillar.top_z_um), abs(y - cy) < size_um / 2, abs(x - cx) < size_um / 2
        )
        active = float(found.segmentation.active[box].mean())
        sputtering = self.settings.sputtering
        binder = sputtering.rate_lco_um3_per_nc / sputtering.rate_binder_um3_per_nc * self.choices.binder_share
        return min(1.0, active + (1.0 - active) * binder)


def raster_of(start: dict[str, Any]) -> Raster:
    """The raster that a SIMS run's start document describes."""
    rows, columns = start["shape"]
    u, v = start["centre_um"]
    return Raster((rows, columns), start["fov_um"], start["dwell_ms"], (u, v))
