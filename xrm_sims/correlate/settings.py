"""The settings of the analysis: one section of a settings file for each step, and their reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xrm_sims.correlate.maps.drift import DriftSettings
from xrm_sims.correlate.phases.particles import ParticleSettings
from xrm_sims.correlate.phases.phases import PhaseSettings
from xrm_sims.correlate.phases.profiles import BoundarySettings
from xrm_sims.correlate.phases.two_target import TwoTargetSettings
from xrm_sims.correlate.registration.global_search import AnywhereSettings
from xrm_sims.correlate.registration.pillar_outline import OutlineSettings
from xrm_sims.correlate.registration.register import RegisterSettings
from xrm_sims.correlate.registration.volume_fit import VolumeFitSettings
from xrm_sims.correlate.volume.defects import DefectSettings
from xrm_sims.correlate.volume.ranking import DefectRule, load_rule
from xrm_sims.correlate.volume.segment import SegmentSettings
from xrm_sims.settings import Settings
from xrm_sims.settings.section import Section, read_toml, validated


class AnalysisSettings(Section):
    """One field for each section; docs/settings.md lists all keys."""

    segmentation: SegmentSettings = SegmentSettings()
    defects: DefectSettings = DefectSettings()
    rois: DefectRule = DefectRule()
    outline: OutlineSettings = OutlineSettings()
    registration: RegisterSettings = RegisterSettings()
    anywhere: AnywhereSettings = AnywhereSettings()
    volumes: VolumeFitSettings = VolumeFitSettings()
    drift: DriftSettings = DriftSettings()
    phases: PhaseSettings = PhaseSettings()
    particles: ParticleSettings = ParticleSettings()
    boundaries: BoundarySettings = BoundarySettings()
    two_target: TwoTargetSettings = TwoTargetSettings()


def load_analysis_settings(root: Path, file: Path | None = None, rule: Path | None = None) -> AnalysisSettings:
    """Return the settings in ``settings.toml`` of a data root, replaced key by key by those in ``file``.

    A ``rule`` file replaces the section ``[rois]``. Raises ValueError naming the file and the wrong section or key.
    """
    merged: dict[str, dict[str, Any]] = {}
    kept = root / "settings.toml"
    for path in (*([kept] if kept.exists() else []), *([file] if file is not None else [])):
        for name, section in _sections(path, instrument_too=path == kept).items():
            merged[name] = merged.get(name, {}) | section
    settings = validated(AnalysisSettings, merged)
    return settings if rule is None else settings.model_copy(update={"rois": load_rule(rule)})


def _sections(path: Path, *, instrument_too: bool) -> dict[str, dict[str, Any]]:
    """Return the analysis sections of a file, validated."""
    table, known, source = read_toml(path), list(AnalysisSettings.model_fields), f"settings file {path}"
    if instrument_too:
        known += Settings.model_fields
    for name in table:
        if name in Settings.model_fields and not instrument_too:
            raise ValueError(f"{source}: {name} describes the instrument; write it into settings.toml of the data root")
        if name not in known:
            raise ValueError(f"{source}: {name} is no section; the sections are {', '.join(known)}")
    sections = {name: table[name] for name in AnalysisSettings.model_fields if name in table}
    validated(AnalysisSettings, sections, source)
    return sections
