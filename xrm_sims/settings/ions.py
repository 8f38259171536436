"""The gallium column, sputtering and deposition, the magnetic sector and the height map."""

from __future__ import annotations

from xrm_sims.settings.section import Section


class IonColumn(Section):
    """Gallium FIB."""

    voltage_kv: float = 30.0
    current_pa: float = 50.0
    milling_current_pa: float = 1000.0
    coarse_milling_current_pa: float = 5000.0  # assumed: for coarse milling before a finer beam
    current_limits_pa: tuple[float, float] = (1.5, 65000.0)
    voltage_limits_kv: tuple[float, float] = (2.0, 30.0)
    core_fwhm_nm: float = 20.0  # at core_current_pa
    core_current_pa: float = 50.0
    core_growth: float = 0.4  # assumed: FWHM grows as current to this power
    core_energy_exponent: float = 0.8  # assumed: FWHM shrinks as impact energy to this power, 1 at 29.5 keV
    tail_sigma_nm: float = 150.0
    tail_fraction: float = 0.03
    charging_nm_per_na: tuple[float, float] = (
        20.0,
        0.0,
    )  # assumed: shift of the scan (u, v) by charging of the specimen
    max_scan_field_um: float = 200.0


class Sputtering(Section):
    """Sputtered atoms per gallium ion at normal incidence (binary-collision code), ionisation and redeposition."""

    reference_kev: float = 29.5  # impact energy at which the yields and rates below hold
    surface_binding_ev: float = 4.0  # assumed: of all materials, for the energy dependence of the yields
    yield_lco: float = 2.9
    yield_nca: float = 2.86
    yield_binder: float = 1.6
    yield_metal: float = 5.0  # assumed: platinum deposit and steel
    rate_lco_um3_per_nc: float = 0.146
    rate_nca_um3_per_nc: float = 0.150
    rate_binder_um3_per_nc: float = 0.105
    rate_metal_um3_per_nc: float = 0.30  # assumed
    rate_uncertainty: float = 0.2  # assumed: relative standard uncertainty of the rates (LCO: 0.126 to 0.205)
    useful_yield_li: float = 4.0e-3
    useful_yield_scale_ev: float = 0.6
    binder_useful_yield_factor: float = 1.0  # 0.1 to 1 in an oxygen-poor matrix
    tilt_power: float = 2.0  # f of Yamamura's angular formula: 4.5 times the yield at the optimal angle
    tilt_optimum_deg: float = 77.5
    collection_exponent: float = 1.0  # assumed: a tilted facet emits off axis; cos(tilt)^exponent is collected
    gallium_range_nm: float = 14.0
    gallium_on_ion_yield: float = -0.5  # assumed: relative change per atomic fraction of gallium missing at the surface
    redeposited_fraction: float = 0.002  # assumed: share of sputtered atoms that redeposits nearby; 0 for none
    redeposition_um: float = 1.0  # assumed: standard deviation of the distance of redeposition


class Deposition(Section):
    """Platinum from a precursor gas that the ion beam decomposes; the gas flows only while a pattern is drawn."""

    rate_um3_per_nc: float = 0.5  # assumed: deposited Pt20C80, less what the ions sputter
    pa_per_um2: float = 6.0  # assumed: usual current per area of the pattern
    max_pa_per_um2: float = 30.0  # assumed: above it the gas is used up and the beam mills instead


class Sector(Section):
    """Double-focusing magnetic sector with four collectors detecting in parallel."""

    field_t: float = 0.5
    field_limits_t: tuple[float, float] = (0.05, 1.2)
    extraction_v: float = 2500.0
    extraction_limits_v: tuple[float, float] = (0.0, 5000.0)
    bias_v: float = 500.0
    slit_mm: float = 0.19  # image width for a mass resolving power of 450 at mass 59 on the focal plane
    slit_reference_radius_mm: float = 121.07  # at other radii the slit width scales with the radius
    resolving_power: float = 450.0  # M / FWHM of the image of one mass
    full_transmission_bias_v: float = 400.0  # assumed: below it the transmission is proportional to the bias
    radius_limits_mm: tuple[float, float] = (30.0, 130.0)
    min_collector_spacing_mm: float = 1.0
    min_bias_v: float = 100.0  # assumed: below it no ions are extracted
    slit_limits_mm: tuple[float, float] = (0.01, 2.0)  # assumed
    dead_time_ns: float = 25.0
    dark_rate_cps: float = 5.0
    hydrocarbon_on_al_per_ion: float = 5.83e-6  # C2H3+ from binder before the slit: 1 per pixel at 0.55 ms and 50 pA
    hydrocarbon_on_al: bool = True
    other_organics_per_ion: float = 0.0  # assumed: 12C14NH+ (on 27Al) and C3H7O+ (on 59Co), each, before the slit
    hydride_per_ion: float = 1e-3  # assumed: MH+ per M+ (58NiH on 59Co, 6LiH on 7Li); 0 for none
    dioxide_per_ion: float = 1e-4  # assumed: MO2+ per M+ (AlO2 on 59Co); 0 for none
    channels: tuple[str, ...] = ("7Li", "27Al", "58Ni", "59Co")
    natural_6li_per_7li: float = 0.0759 / 0.9241  # isotope ratio of natural lithium


class SurfaceGrid(Section):
    """Height map over the pillar's top, and shading by walls."""

    pitch_um: float = 0.03
    width_um: float = 44.0
    milling_columns: int = 96  # per side of a milled box: columns used to compute the depth of a pass
    probe_depth_nm: float = 1.0  # depth below the surface of the material that a beam hits
    horizon_um: tuple[float, ...] = (
        0.03,
        0.06,
        0.1,
        0.16,
        0.25,
        0.4,
        0.64,
        1.0,
        1.6,
    )  # distances at which walls are searched
