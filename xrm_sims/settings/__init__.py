"""The instrument's fixed facts: one frozen model, every length, time and voltage with its unit in the name.

Defaults are the instrument of the paper (30 keV electrons on tungsten, WidePIX, Ga-FIB, magnetic-sector SIMS). A lab
writes a TOML file with the values that differ, section by section, and loads it with :func:`load_settings`. Defaults
marked *assumed* stand for values that nobody has measured on such an instrument yet.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from xrm_sims.settings.electrons import Electrons, Scan
from xrm_sims.settings.ions import Deposition, IonColumn, Sector, Sputtering, SurfaceGrid
from xrm_sims.settings.mechanics import Chamber, ModeChange, Motion, StageLimits, TargetLimits
from xrm_sims.settings.operation import Planning, Suspension
from xrm_sims.settings.section import Section
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
    """Everything fixed about one instrument."""

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
        """Pixel pitch demagnified to the rotation axis: 0.05 um."""
        return self.detector.pixel_mm * 1e3 / self.magnification


def load_settings(path: str | Path) -> Settings:
    """Settings from a TOML file; keys that are missing keep their defaults.

    Raises ValueError naming the file and the offending key.
    """
    try:
        table = tomllib.loads(Path(path).read_text())
        return Settings(**table)
    except OSError as error:
        raise ValueError(f"settings file {path}: cannot be read ({error.strerror})") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"settings file {path}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"settings file {path}: {where}: {first['msg']}") from error
