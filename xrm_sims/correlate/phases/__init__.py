"""Phases of pixels and particles."""

from xrm_sims.correlate.phases.phases import CHANNELS, Phase, PhaseMap, PhaseModel, PhaseSettings

__all__ = ["CHANNELS", "Phase", "PhaseMap", "PhaseModel", "PhaseSettings"]
