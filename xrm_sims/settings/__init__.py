"""Fixed properties of the instrument: one frozen model, with the unit in the name of each quantity.

Defaults describe the instrument of the paper (30 keV electrons on tungsten, WidePIX, Ga-FIB, magnetic-sector SIMS). A
lab writes the values that differ into a TOML file, section by section, and loads it with :func:`load_settings`. For
defaults marked *assumed* no measured value has been published.
"""

from __future__ import annotations

from pathlib import Path

from xrm_sims.settings.electrons import Electrons, Scan
from xrm_sims.settings.ions import Deposition, IonColumn, Sector, Sputtering, SurfaceGrid
from xrm_sims.settings.mechanics import Chamber, ModeChange, Motion, StageLimits, TargetLimits
from xrm_sims.settings.operation import Planning, Suspension
from xrm_sims.settings.section import Section, read_toml, validated
from xrm_sims.settings.specimen import Specimen
from xrm_sims.settings.xray import Detector, ElectronColumn, Source, XrayGeometry

__all__ = [
    "Chamber",
    "Deposition",
    "Detector",
    "ElectronColumn",
    "Electrons",
    "IonColumn",
    "ModeChange",
    "Motion",
    "Planning",
    "Scan",
    "Sector",
    "Settings",
    "Source",
    "Specimen",
    "Sputtering",
    "StageLimits",
    "SurfaceGrid",
    "Suspension",
    "TargetLimits",
    "XrayGeometry",
    "load_settings",
]


class Settings(Section):
    """Fixed properties of one instrument."""

    name: str = "digital twin"
    xray: XrayGeometry = XrayGeometry()
    detector: Detector = Detector()
    electron: ElectronColumn = ElectronColumn()
    source: Source = Source()
    motion: Motion = Motion()
    stage: StageLimits = StageLimits()
    target: TargetLimits = TargetLimits()
    ion: IonColumn = IonColumn()
    sputtering: Sputtering = Sputtering()
    deposition: Deposition = Deposition()
    sector: Sector = Sector()
    mode_change: ModeChange = ModeChange()
    scan: Scan = Scan()
    chamber: Chamber = Chamber()
    planning: Planning = Planning()
    suspension: Suspension = Suspension()
    surface: SurfaceGrid = SurfaceGrid()
    electrons: Electrons = Electrons()
    specimen: Specimen = Specimen()

    @property
    def magnification(self) -> float:
        return self.xray.source_detector_mm / self.xray.source_object_mm

    @property
    def voxel_um(self) -> float:
        """Pixel pitch at the rotation axis: 0.05 um."""
        return self.detector.pixel_mm * 1e3 / self.magnification


def load_settings(path: str | Path) -> Settings:
    """Read settings from a TOML file; missing keys keep their defaults.

    Raises ValueError naming the file and the wrong key.
    """
    return validated(Settings, read_toml(Path(path)), f"settings file {path}")
