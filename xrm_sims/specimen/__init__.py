"""The continuous digital specimen: materials, solids, the cathode pillar."""

from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.specimen.pillar import CathodePillar

__all__ = ["CathodePillar", "Material", "attenuation_per_um"]
