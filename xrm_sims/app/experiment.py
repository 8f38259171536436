"""What the correlative plan needs computed between its measurements: reconstruct, choose, align, register.

Every result is kept at ``/results/<uid of the run it comes from>`` before the plan goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plans import Aim, Correlative
from xrm_sims.app.progress import timed
from xrm_sims.app.reconstruction import Tomogram, reconstruct_tomogram
from xrm_sims.correlate.align import PillarOutline, locate_pillar, pillar_affine
from xrm_sims.correlate.defects import Defect, DefectRule, choose_defect, find_defects
from xrm_sims.correlate.register import Registration, register_sims_to_ct
from xrm_sims.correlate.segment import Segmentation, coordinates_um, segment
from xrm_sims.data import read_counts, results
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings


@dataclass(frozen=True)
class Choices:
    """What a user may want otherwise: how to reconstruct, which defect to take, how to dig and map."""

    sweeps: int = 3
    relaxation: float = 1.0  # 23,000 counts per binned pixel: noise does not ask for less
    rule: DefectRule = DefectRule()
    fov_um: float = 14.0
    mill_margin_um: float = 3.0
    mill_passes: int = 10
    binder_share: float = 0.34  # of what is not active material; from the electrode's recipe, CT does not see it


@dataclass
class Analysis:
    """The four functions of one experiment, and what they found, for figures and summary."""

    data: Path
    settings: Settings
    choices: Choices = Choices()
    seconds: dict[str, float] = field(default_factory=dict)
    tomogram: Tomogram | None = None
    segmentation: Segmentation | None = None
    defects: list[Defect] = field(default_factory=list)
    defect: Defect | None = None
    outline: PillarOutline | None = None

    def reconstruct(self, uid: str) -> Tomogram:
        """Volume of a tomography run, kept as its result ``volume``."""
        with timed("reconstruction", self.seconds):
            self.tomogram = reconstruct_tomogram(
                uid, self.data, sweeps=self.choices.sweeps, relaxation=self.choices.relaxation
            )
        return self.tomogram

    def choose(self, tomogram: Tomogram) -> Aim:
        """The best defect within reach, and the box to mill down to its middle. ValueError when there is none."""
        voxel_um = tomogram.voxel_um
        with timed("defect search", self.seconds):
            self.segmentation = segment(tomogram.volume, voxel_um)
            self.defects = find_defects(tomogram.volume, voxel_um, segmentation=self.segmentation)
        self.defect = choose_defect(self.defects, self.choices.rule)
        results.save(
            self.data,
            tomogram.uid,
            "rois",
            tables={"defects": [entry.as_dict() for entry in self.defects]},
            metadata={"chosen": self.defect.as_dict(), "rule": vars(self.choices.rule)},
        )
        return self._aim(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))

    def align(self, aim: Aim, se_uid: str) -> Aim:
        """Where the ion beam's scan frame has the defect, from the pillar's outline in the ion image."""
        assert self.segmentation is not None
        image, start = read_counts(se_uid, "se_image", self.data)
        self.outline = locate_pillar(image[0], start["fov_um"], tuple(start["centre_um"]))
        return self._aim(pillar_affine(self.outline, self.segmentation.pillar))

    def register(self, result: Correlative) -> Registration:
        """Where the SIMS raster lies in the CT volume."""
        assert self.tomogram is not None and result.aim is not None
        counts, start = read_counts(result.uids["sims"], "sector_counts", self.data)
        with timed("registration", self.seconds):
            registration = register_sims_to_ct(
                counts,
                self.tomogram.volume,
                self.tomogram.voxel_um,
                raster_of(start),
                result.aim.about["plane_z_um"],
                np.asarray(result.aim.about["scan_to_specimen"]),
            )
        results.save(
            self.data,
            result.uids["sims"],
            "registration",
            metadata=registration.as_dict(),
            parents=[result.uids["tomography"]],
        )
        return registration

    def _aim(self, scan_to_specimen: NDArray[np.float64]) -> Aim:
        assert self.defect is not None and self.segmentation is not None and self.tomogram is not None
        x, y, z = (float(value) for value in self.defect.centre_um)
        u, v = apply_affine(invert_affine(scan_to_specimen), [[x, y]])[0]
        size_um = self.choices.fov_um + self.choices.mill_margin_um
        box = Rectangle(
            size_um=(size_um, size_um),
            depth_um=float(self.segmentation.pillar.top_z_um - z),
            centre_um=(float(u), float(v)),
            solid_fraction=self._solid_fraction((x, y, z), size_um),
            passes=self.choices.mill_passes,
        )
        about = {"plane_z_um": z, "defect_centre_um": [x, y, z], "scan_to_specimen": scan_to_specimen.tolist()}
        return Aim(mill=box, fov_um=self.choices.fov_um, centre_um=(float(u), float(v)), about=about)

    def _solid_fraction(self, centre_um: tuple[float, float, float], size_um: float) -> float:
        """Dose that the box takes relative to one full of LCO: active material seen by CT, binder by recipe."""
        assert self.segmentation is not None and self.tomogram is not None
        z, y, x = coordinates_um(self.tomogram.volume.shape, self.tomogram.voxel_um)
        pillar = self.segmentation.pillar
        layers = (z > centre_um[2]) & (z < pillar.top_z_um)
        box = (
            layers[:, None, None]
            & (abs(y - centre_um[1]) < size_um / 2)[None, :, None]
            & (abs(x - centre_um[0]) < size_um / 2)[None, None, :]
        )
        active = float(self.segmentation.active[box].mean()) if box.any() else 1.0
        sputtering = self.settings.sputtering
        binder = sputtering.rate_lco_um3_per_nc / sputtering.rate_binder_um3_per_nc * self.choices.binder_share
        return min(1.0, active + (1.0 - active) * binder)


def raster_of(start: dict[str, Any]) -> Raster:
    """The raster that a SIMS run's start document describes."""
    return Raster(tuple(start["shape"]), start["fov_um"], start["dwell_ms"], tuple(start["centre_um"]))
