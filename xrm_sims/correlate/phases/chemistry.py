"""Analysis of a SIMS map: phases, particles, means of each phase, aluminium in binder, grain boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.correlate.maps.field_maps import labels_in_field, slice_in_field
from xrm_sims.correlate.phases.particles import Particle, ParticleSettings, find_particles
from xrm_sims.correlate.phases.phase_statistics import BinderAluminium, PhaseRow, binder_aluminium, phase_table
from xrm_sims.correlate.phases.phases import PhaseModel, PhaseSettings, active_prior, select_channels
from xrm_sims.correlate.phases.profiles import BoundarySettings, LineProfile, boundary_profiles
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.segment import Segmentation
from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings


@dataclass(frozen=True, eq=False)
class Chemistry:
    """Results of a map.

    probabilities : (phase, row, column) in the order of ``Phase``.
    nca_share : (row, column) probability of NCA rather than LCO, at any depth.
    particle_labels : (row, column) number of the particle, 0 elsewhere; ``particles`` in their order.
    unseen : CT's labels in the field without active material in the map.
    profiles : across the clearest grain boundaries of NCA.
    """

    probabilities: NDArray[np.float32]
    nca_share: NDArray[np.float32]
    particle_labels: NDArray[np.int32]
    particles: list[Particle]
    statistics: list[PhaseRow]
    binder: BinderAluminium
    profiles: list[LineProfile] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """(row, column), the most probable ``Phase``."""
        return np.asarray(self.probabilities.argmax(axis=0), dtype=np.uint8)


def analyse(
    counts: ArrayLike,
    labels: Sequence[str],
    raster: Raster,
    *,
    current_pa: float,
    instrument: Settings,
    registration: Registration | None = None,
    segmentation: Segmentation | None = None,
    settings: PhaseSettings = PhaseSettings(),
    particle_settings: ParticleSettings = ParticleSettings(),
    boundary_settings: BoundarySettings = BoundarySettings(),
) -> Chemistry:
    """Analyse a SIMS map ([frame,] channel, row, column), together with the CT volume if it is registered.

    Raises ValueError for a map that lacks one of ``phases.CHANNELS``, has another shape than the raster or too few
    counts, and if the exposed plane is outside the volume.
    """
    frames = np.shape(counts)[0] if np.ndim(counts) == 4 else 1
    maps = select_channels(counts, labels)
    if maps.shape[1:] != tuple(raster.shape):
        raise ValueError(f"counts: have {maps.shape[1:]} pixels, the raster {tuple(raster.shape)}")
    active, ct_labels = None, None
    if registration is not None and segmentation is not None:
        place = (segmentation.voxel_um, registration.exposed_z_um, registration.sims_to_specimen, raster.shape)
        slice_ = slice_in_field(segmentation.normalised, *place)
        active = active_prior(slice_, raster.pixel_um, registration.sigma_nm * 1e-3, settings)
        ct_labels = labels_in_field(segmentation.particles, *place)
    model = PhaseModel(
        counts,
        labels,
        pixel_um=raster.pixel_um,
        dwell_s=frames * raster.dwell_ms * 1e-3,
        instrument=instrument,
        active=active,
        settings=settings,
    )
    particles = find_particles(model.posterior(), maps, ct_labels, particle_settings)
    phases = model.posterior(particles.nca_prior())
    return Chemistry(
        phases.probabilities,
        phases.nca_share,
        particles.labels,
        particles.found,
        phase_table(phases, maps),
        binder_aluminium(phases, maps, frames * raster.ions_per_pixel(current_pa), instrument),
        boundary_profiles(phases, maps, boundary_settings),
        particles.unseen,
    )
