"""Computations between the steps of a night: reconstruct, find ROIs, align, register."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plans import Aim, Computed
from plans.validation import count, positive, settable
from xrm_sims.app.correlative.figures import draw
from xrm_sims.app.correlative.findings import Choices, Experiment, Findings
from xrm_sims.app.correlative.workflow import Analysis
from xrm_sims.app.tomography.figures import draw_tomogram
from xrm_sims.app.tomography.tomogram import Tomogram, reconstruct_tomogram
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.settings import AnalysisSettings, load_analysis_settings
from xrm_sims.correlate.volume.ranking import DefectRule, NoDefectError
from xrm_sims.settings import Settings
from xrm_sims.settings.section import validated

_DEFAULT = Choices()
_COUNTS = ("sweeps", "mill_passes")
_LENGTHS = ("voxel_um", "relaxation", "fov_um", "least_diameter_um")


class NightComputations:
    """The computations of a night on one data root. Each result is stored there before the night continues.

    ``pictures`` is the folder for pictures, with a sub-folder for each run. ``drawn`` collects their paths by the uid
    of the run that they show.
    """

    def __init__(
        self, data: Path, settings: Settings, pictures: Path, analysis: AnalysisSettings | None = None
    ) -> None:
        self.data = data
        self.settings = settings
        self.pictures = pictures
        self.drawn: dict[str, list[Path]] = {}
        self._choices = Choices(analysis=analysis or load_analysis_settings(data))
        self._analysis = Analysis(data, settings, self._choices)

    def check(self, do: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError, beginning with the argument's name, if a computation cannot take these arguments."""
        settable(arguments, getattr(self, do), do, ("tomography_uid", "tomogram"))
        if do == "find_rois":
            given = {name: value for name, value in arguments.items() if name in DefectRule.model_fields}
            validated(DefectRule, self._choices.analysis.rois.model_dump() | given)
        for name in _COUNTS:
            if name in arguments:
                count(1, **{name: arguments[name]})
        for name in _LENGTHS:
            if arguments.get(name) is not None:
                positive(**{name: arguments[name]})

    def reconstruct(
        self,
        tomography_uid: str,
        *,
        sweeps: int = _DEFAULT.sweeps,
        relaxation: float = _DEFAULT.relaxation,
        voxel_um: float | None = None,
        correct: bool = True,
        sharpen: bool = False,
    ) -> Computed[Tomogram]:
        """Reconstruct the volume, store it as the run's result, and draw its slices."""
        tomogram = reconstruct_tomogram(
            tomography_uid,
            self.data,
            voxel_um=voxel_um,
            sweeps=sweeps,
            relaxation=relaxation,
            correct=correct,
            sharpen=sharpen,
        )
        self.drawn[tomogram.uid] = draw_tomogram(tomogram, self.pictures / tomogram.uid[:8])
        nz, ny, nx = tomogram.volume.shape
        edge = "" if tomogram.resolution is None else f", edge {tomogram.resolution}"
        return Computed(tomogram, f"{nx} × {ny} × {nz} voxels of {tomogram.voxel_um:g} um{edge}")

    def find_rois(
        self,
        tomogram: Tomogram,
        *,
        kinds: Sequence[str] | None = None,
        depth_um: tuple[float, float] | None = None,
        least_diameter_um: float | None = None,
        least_edge_um: float | None = None,
        least_confidence: float | None = None,
        fov_um: float | None = _DEFAULT.fov_um,
        mill_margin_um: float = _DEFAULT.mill_margin_um,
        mill_passes: int = _DEFAULT.mill_passes,
    ) -> Computed[Aim[Findings] | None]:
        """Return the best ROI by the rule, or None when there is none; limits left out are those of ``[rois]``."""
        limits = {
            "kinds": kinds,
            "depth_um": depth_um,
            "least_diameter_um": least_diameter_um,
            "least_edge_um": least_edge_um,
            "least_confidence": least_confidence,
        }
        given = {name: value for name, value in limits.items() if value is not None}
        rule = validated(DefectRule, self._choices.analysis.rois.model_dump() | given)
        analysis = self._choices.analysis.model_copy(update={"rois": rule})
        choices = replace(
            _DEFAULT, analysis=analysis, fov_um=fov_um, mill_margin_um=mill_margin_um, mill_passes=mill_passes
        )
        self._analysis = replace(self._analysis, choices=choices)
        try:
            aim = self._analysis.choose(tomogram)
        except NoDefectError as nothing:
            return Computed(None, f"no ROI: {nothing}")
        defect = aim.about.defect
        x, y, z = defect.centre_um
        return Computed(
            aim,
            f"{len(aim.about.defects)} found; chosen: {defect.kind} of {defect.diameter_um:.2f} um at "
            f"({x:.1f}, {y:.1f}, {z:.1f}) um, {defect.depth_um:.1f} um deep",
        )

    def align(self, aim: Aim[Findings], se_uid: str) -> Computed[Aim[Findings]]:
        """Locate the ROI in the ion beam's scan frame."""
        aligned = self._analysis.align(aim, se_uid)
        u, v = aligned.centre_um
        return Computed(aligned, f"ROI at ({u:.2f}, {v:.2f}) um of the ion beam's field")

    def verify(self, aim: Aim[Findings], se_uid: str) -> Computed[Aim[Findings]]:
        """Locate the milled plane, and compute what remains to be milled."""
        further = self._analysis.verify(aim, se_uid)
        above_nm = 1e3 * (further.about.surface.z_um - further.about.plane_z_um)
        return Computed(further, f"plane {above_nm:+.0f} nm above the middle of the ROI")

    def register(self, result: Experiment) -> Computed[Registration]:
        """Register the map to the volume, and draw the overlay."""
        registration = self._analysis.register(result)
        result.registration = registration
        if {"se_before", "se_after"} <= result.uids.keys():
            self.drawn[result.uids["sims"]] = draw(result, self.data, self.pictures / result.uids["sims"][:8])
        return Computed(registration, f"registered within {registration.sigma_nm:.0f} nm")
