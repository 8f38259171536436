"""What a tomogram showed, which ROI was chosen, and what a user may choose: the data of the correlative workflow."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plans import Correlative
from xrm_sims.app.tomography.tomogram import Tomogram
from xrm_sims.correlate.registration.pillar_outline import OutlineSettings, locate_pillar, pillar_affine
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.settings import AnalysisSettings
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.ranking import Roi
from xrm_sims.correlate.volume.segment import Segmentation, coordinates_um
from xrm_sims.data import read_counts, results

TOP_SIGMA_UM = 0.04  # of the pillar's top in the tomogram
HEIGHT_FLOOR_UM, TILTED = 0.03, 0.5  # what a height seen is uncertain by at least; what errors in place add to it


@dataclass(frozen=True)
class Height:
    """Of a plane in the specimen frame, with its standard deviation."""

    z_um: float
    sigma_um: float

    @classmethod
    def seen(cls, registration: Registration) -> Height:
        """What an image tells; where it is placed worse, its height is too."""
        sideways_um = TILTED * 1e-3 * registration.sigma_nm
        own = (registration.sigma_z_um, HEIGHT_FLOOR_UM, sideways_um)
        return cls(registration.exposed_z_um, math.hypot(*own))

    def widened(self, other: Height) -> Height:
        """With another uncertainty on top."""
        return replace(self, sigma_um=math.hypot(self.sigma_um, other.sigma_um))

    def mean(self, other: Height) -> Height:
        """Weighted by the variances. ValueError when the two lie four standard deviations apart."""
        apart_um, allowed_um = abs(self.z_um - other.z_um), 4 * math.hypot(self.sigma_um, other.sigma_um)
        if apart_um > allowed_um:
            raise ValueError(
                f"plane: two ways to tell its height are {apart_um:.2f} um apart and allow {allowed_um:.2f} um; one of "
                "them is wrong, so nothing is milled by either"
            )
        mine, its = self.sigma_um**-2, other.sigma_um**-2
        return Height((mine * self.z_um + its * other.z_um) / (mine + its), (mine + its) ** -0.5)


@dataclass(frozen=True)
class Choices:
    """What a user may want otherwise: how to reconstruct, which defect to take, how to dig and map."""

    sweeps: int = 3
    relaxation: float = 1.0  # 23,000 counts in a binned pixel: noise does not ask for less
    analysis: AnalysisSettings = AnalysisSettings()
    fov_um: float | None = None  # of the map; None: as the ROI's particle asks for, within FIELD_UM
    sims_counts: float | None = None  # of 58Ni from a pixel of NCA; None: as many as the paper's map has
    map_depth_nm: float | None = None  # what the map may consume; None: settings.planning.map_depth_nm
    mill_margin_um: float = 5.0  # the walls of the box shade the map within about two micrometres
    mill_passes: int = 10
    binder_share: float = 0.34  # of what is not active material; from the electrode's recipe, CT does not see it
    plane_tolerance_um: float = 0.06  # how far above its wish the plane may stay
    last_step_um: float = 0.45  # of milling; what is longer is looked at once more half-way
    sure_of_plane_um: float = 0.15  # a height known worse than that is not milled by
    elements: tuple[str, ...] = ()  # mapped with electrons after the SIMS map, when given


@dataclass(frozen=True, eq=False)
class Findings:
    """What the CT showed, which ROI was chosen, and how scan and specimen hang together as far as is known."""

    tomogram: Tomogram
    segmentation: Segmentation
    rois: list[Roi]
    roi: Roi
    scan_to_specimen: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))
    milled: Height | None = None  # of the plane that was milled; None while the pillar has its own top
    seen: Registration | None = None  # of the last image of the plane

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

    @property
    def surface(self) -> Height:
        """Of what lies open above the defect."""
        return self.milled or Height(self.segmentation.pillar.top_z_um, TOP_SIGMA_UM)

    @property
    def spared_z_um(self) -> float:
        """Below this the defect is mostly gone: half of its half height under its middle."""
        return self.plane_z_um - max(0.25 * self.height_um, 0.15)

    @property
    def height_um(self) -> float:
        """Of the defect, from its lowest to its highest point."""
        d = self.defect
        axis = abs(d.normal[2])
        return float(np.hypot(axis * d.extents_um[2], np.sqrt(1 - axis**2) * d.extents_um[0]))

    @property
    def reach_um(self) -> float:
        """How far from the defect its particle reaches in the plane, along x or y."""
        z, y, x = coordinates_um(self.segmentation.particles.shape, self.segmentation.voxel_um)
        plane = self.segmentation.particles[int(np.abs(z - self.plane_z_um).argmin())] == self.defect.particle
        cx, cy, _ = self.defect.centre_um
        sides = (np.abs(y[plane.any(axis=1)] - cy), np.abs(x[plane.any(axis=0)] - cx))
        return max(float(side.max(initial=0.0)) for side in sides)


Experiment = Correlative[Tomogram, Findings, Registration]


def align_by_outline(found: Findings, se_uid: str, data: Path, settings: OutlineSettings) -> NDArray[np.float64]:
    """2 x 3 affine from a scan frame to the specimen's, by the pillar's outline in an image of all of it; kept as the
    image's result ``alignment``. ValueError when no round outline is seen."""
    image, start = read_counts(se_uid, "se_image", data)
    outline = locate_pillar(image[0], start["fov_um"], tuple(start["centre_um"]), settings)
    affine = pillar_affine(outline, found.segmentation.pillar)
    about = {"scan_to_specimen": affine.tolist(), **asdict(outline)}
    results.save(data, se_uid, "alignment", metadata=about, parents=start.get("parent_uids", []))
    return affine
