"""Data of the correlative workflow: heights of planes, choices of the user, findings in a tomogram."""

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
HEIGHT_FLOOR_UM = 0.03  # smallest uncertainty of a height from an image
HEIGHT_PER_SHIFT = 0.5  # uncertainty of the height per uncertainty of the position in the plane


@dataclass(frozen=True)
class Height:
    """Height of a plane in the specimen frame, with its standard deviation."""

    z_um: float
    sigma_um: float

    @classmethod
    def seen(cls, registration: Registration) -> Height:
        """Return the height from a registered image; an uncertain position makes the height uncertain too."""
        from_shift_um = HEIGHT_PER_SHIFT * 1e-3 * registration.sigma_nm
        return cls(registration.exposed_z_um, math.hypot(registration.sigma_z_um, HEIGHT_FLOOR_UM, from_shift_um))

    def widened(self, other: Height) -> Height:
        """Add the uncertainty of another height."""
        return replace(self, sigma_um=math.hypot(self.sigma_um, other.sigma_um))

    def mean(self, other: Height) -> Height:
        """Return the mean weighted by the variances. ValueError when both differ by four standard deviations."""
        apart_um, allowed_um = abs(self.z_um - other.z_um), 4 * math.hypot(self.sigma_um, other.sigma_um)
        if apart_um > allowed_um:
            raise ValueError(
                f"plane: two measurements of its height differ by {apart_um:.2f} um, and {allowed_um:.2f} um are "
                "allowed; one of them is wrong, so milling stops"
            )
        mine, others = self.sigma_um**-2, other.sigma_um**-2
        return Height((mine * self.z_um + others * other.z_um) / (mine + others), (mine + others) ** -0.5)


@dataclass(frozen=True)
class Choices:
    """Choices of the user: how to reconstruct, which defect to take, how to mill and map."""

    sweeps: int = 3
    relaxation: float = 1.0  # 23,000 counts in a binned pixel: the noise needs no smaller value
    analysis: AnalysisSettings = AnalysisSettings()
    fov_um: float | None = None  # of the map; None: the ROI's particle, within FIELD_UM
    sims_counts: float | None = None  # of 58Ni per pixel of NCA; None: as in the paper's map
    map_depth_nm: float | None = None  # depth that the map may sputter; None: settings.planning.map_depth_nm
    mill_margin_um: float = 5.0  # the walls of the box shade the map within about two micrometres
    mill_passes: int = 10
    binder_share: float = (
        0.34  # of what is not active material; from the electrode's recipe, because CT does not show it
    )
    plane_tolerance_um: float = 0.06  # how far above the wanted height the plane may stay
    last_step_um: float = 0.45  # of milling; a longer step stops half-way for an image
    sure_of_plane_um: float = 0.15  # largest uncertainty of a height to mill by
    elements: tuple[str, ...] = ()  # to map by EDS after the SIMS map


@dataclass(frozen=True, eq=False)
class Findings:
    """Tomogram, ROIs and the chosen ROI, with the present affine from the scan frame to the specimen frame."""

    tomogram: Tomogram
    segmentation: Segmentation
    rois: list[Roi]
    roi: Roi
    scan_to_specimen: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))
    milled: Height | None = None  # of the milled plane; None before the first milling
    seen: Registration | None = None  # of the last image of the plane

    @property
    def defects(self) -> list[Defect]:
        return [roi.defect for roi in self.rois]

    @property
    def defect(self) -> Defect:
        return self.roi.defect

    @property
    def plane_z_um(self) -> float:
        """Height of the plane to expose, in the middle of the defect."""
        return float(self.defect.centre_um[2])

    @property
    def surface(self) -> Height:
        """Height of the open surface above the defect."""
        return self.milled or Height(self.segmentation.pillar.top_z_um, TOP_SIGMA_UM)

    @property
    def spared_z_um(self) -> float:
        """Lowest plane that leaves enough of the defect: half of its half height below its middle."""
        return self.plane_z_um - max(0.25 * self.height_um, 0.15)

    @property
    def height_um(self) -> float:
        """Extent of the defect along z."""
        d = self.defect
        axis = abs(d.normal[2])
        return float(np.hypot(axis * d.extents_um[2], np.sqrt(1 - axis**2) * d.extents_um[0]))

    @property
    def reach_um(self) -> float:
        """Largest distance along x or y from the defect to the edge of its particle in the plane."""
        z, y, x = coordinates_um(self.segmentation.particles.shape, self.segmentation.voxel_um)
        plane = self.segmentation.particles[int(np.abs(z - self.plane_z_um).argmin())] == self.defect.particle
        cx, cy, _ = self.defect.centre_um
        sides = (np.abs(y[plane.any(axis=1)] - cy), np.abs(x[plane.any(axis=0)] - cx))
        return max(float(side.max(initial=0.0)) for side in sides)


Experiment = Correlative[Tomogram, Findings, Registration]


def align_by_outline(found: Findings, se_uid: str, data: Path, settings: OutlineSettings) -> NDArray[np.float64]:
    """Return the 2 x 3 affine from a scan frame to the specimen frame, from the pillar's outline in an image.

    It is kept as the image's result ``alignment``. Raises ValueError when the image shows no round outline.
    """
    image, start = read_counts(se_uid, "se_image", data)
    outline = locate_pillar(image[0], start["fov_um"], tuple(start["centre_um"]), settings)
    affine = pillar_affine(outline, found.segmentation.pillar)
    about = {"scan_to_specimen": affine.tolist(), **asdict(outline)}
    results.save(data, se_uid, "alignment", metadata=about, parents=start.get("parent_uids", []))
    return affine
