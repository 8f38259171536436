"""Dimensions and composition of the cathode pillar."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from xrm_sims.settings.section import Section


class Specimen(Section):
    """The cathode pillar; z counts in the specimen frame, whose origin is the centre of the CT window."""

    diameter_um: float = 40.0
    top_um: float = 4.5  # two micrometres of the window lie above the pillar
    height_um: float = 170.0
    detail_depth_um: float = 40.0  # below it the pillar is a homogeneous average
    pedestal_um: float = 100.0  # diameter; it stands on the disk and reaches the pillar's foot
    disk_below_top_um: float = 280.0  # depth of the disk's surface below the pillar's top
    disk_diameter_um: float = 3000.0  # assumed
    disk_thickness_um: float = 1000.0  # assumed
    deposit_diameter_um: float = 56.0  # assumed: platinum collar around the pillar's foot
    deposit_height_um: float = 12.0  # assumed
    fraction_lco: float = 0.31  # of the pillar's volume; the rest is pores
    fraction_nca: float = 0.31
    fraction_binder: float = 0.13
    lco_diameter_um: tuple[float, float] = (4.0, 12.0)  # of the sphere of equal volume
    lco_aspect: tuple[float, float] = (1.0, 1.6)
    nca_diameter_um: tuple[float, float] = (6.0, 12.0)
    void_radius_um: tuple[float, float] = (0.8, 2.2)  # assumed: interstitial voids, overlapping one another
    pore_diameter_um: tuple[float, float] = (0.3, 1.0)
    nanopore_diameter_um: tuple[float, float] = (0.05, 0.2)
    pores_per_um3_nca: float = 0.025  # assumed: about ten per secondary particle
    pores_per_um3_lco: float = 0.012  # assumed
    nanopores_per_um3_nca: float = 0.02  # assumed
    cracks_per_nca: float = 2.0  # assumed: mean of a Poisson number
    cracks_per_lco: float = 1.0  # assumed
    crack_opening_um: tuple[float, float] = (0.05, 0.5)
    crack_length_um: tuple[float, float] = (1.5, 4.0)
    crack_width_to_length: tuple[float, float] = (0.6, 1.0)  # assumed
    grain_um: float = 0.5  # pitch of the jittered lattice behind the Voronoi grains (300 to 800 nm)
    grain_boundary_um: tuple[float, float] = (0.02, 0.04)
    decorated_boundary_share: float = 0.11  # share of grain facets rich in aluminium; all facets would fill 18 % of NCA
    binder_al_fraction: tuple[float, float] = (0.002, 0.01)  # at contact with NCA, drawn per NCA particle
    binder_al_length_um: float = 1.5
    enriched_um: tuple[
        tuple[float, float, float, PositiveFloat], ...
    ] = ()  # x, y, z, radius of spheres enriched in 6Li
    enriched_6li_share: Annotated[float, Field(ge=0, le=1)] = (
        0.5  # assumed: of the lithium in them; only SIMS detects it
    )
