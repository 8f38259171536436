"""The instrument's fixed facts: one frozen model, every length, time and voltage with its unit in the name.

Defaults are the instrument of the paper (30 keV electrons on tungsten, WidePIX, Ga-FIB, magnetic-sector SIMS). A lab
writes a TOML file with the values that differ, section by section, and loads it with :func:`load_settings`. Defaults
marked *assumed* stand for values that nobody has measured on such an instrument yet.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class XrayGeometry(_Section):
    """Where source, rotation axis and detector stand (magnification 440 mm / 0.4 mm = 1100)."""

    source_object_mm: float = 0.4
    source_detector_mm: float = 440.0
    rays_per_pixel_edge: int = 1  # of the twin: rays along each edge of a binned pixel, as far as it can be divided
    edge_enhancement: bool = False  # of the twin: refraction shows as a fringe along edges


class Detector(_Section):
    """WidePIX 1 x 5 of Medipix3 chips with silicon sensors."""

    rows: int = 256
    columns: int = 1280
    pixel_mm: float = 0.055
    chip_columns: int = 256
    seam_width_factor: float = 1.5  # assumed: columns beside a chip seam collect over a wider sensor
    sensor_um: float = 300.0
    threshold_kev: float = 4.0
    threshold_noise_kev: float = 0.29
    charge_sigma_um: float = 5.0  # assumed: diffusion over 300 um at 200 V, thickness sqrt(2 kT / qV); 0: no sharing
    dead_time_ns: float = 100.0
    paralyzable: bool = False  # assumed: a photon within the dead time of another does not prolong it
    counter_depth_bits: int = 24  # 12 clips at 4095
    dark_rate_cps: float = 1e-4  # per pixel; a photon counter above threshold is almost dark
    bad_pixel_fraction: float = 0.003
    hot_share_of_bad: float = 0.3  # assumed; the others are dead
    hot_rate_cps: float = 500.0  # assumed
    gain_dispersion: float = 0.03
    max_exposure_s: float = 3600.0
    min_exposure_s: float = 1e-3
    threshold_limits_kev: tuple[float, float] = (2.0, 30.0)  # assumed
    binnings: tuple[int, ...] = (1, 2, 4, 8)
    temperature_c: float = 25.0  # assumed


class ElectronColumn(_Section):
    """The SEM column as it drives the X-ray target."""

    voltage_kv: float = 30.0
    current_na: float = 400.0
    probe_nm: float = 90.0
    probe_growth: float = 0.375  # assumed: the probe at its best widens as current to this power (Goldstein 2018)
    voltage_limits_kv: tuple[float, float] = (0.5, 30.0)
    current_limits_na: tuple[float, float] = (0.001, 500.0)
    current_decay_per_h: float = 0.01  # assumed
    probe_limits_nm: tuple[float, float] = (1.0, 1000.0)  # assumed
    max_scan_field_um: float = 500.0


class Source(_Section):
    """X-ray source spot and spectrum on a bulk target (electron Monte Carlo; spekpy 2.5 casim)."""

    spot_core_sigma_nm: float = 60.0
    spot_core_fraction: float = 0.26
    spot_tail_sigma_nm: float = 259.0
    spot_probe_nm: float = 90.0  # the electron probe (FWHM) that both widths are for
    spot_vertical_stretch: float = 1.2  # assumed: the spot is wider along z
    least_voltage_kv: float = 10.0  # assumed: below that a target is no source of hard X-rays
    take_off_deg: float = 30.0  # assumed: between the target's face and the beam
    wear_per_c: float = 0.0  # assumed: flux lost per coulomb on one spot of the target
    # assumed: power per probe width at which the surface melts, pi/2 of conductivity times melting point above room
    melting_w_per_um: dict[str, float] = {"W": 0.63, "Cu": 0.63, "Cr": 0.21}

    @property
    def focal_spot(self) -> dict[str, Any]:
        """The focal spot of the probe that its widths are for."""
        return self.focal_spot_of(self.spot_probe_nm)

    def focal_spot_of(self, probe_nm: float) -> dict[str, Any]:
        """As runs tell it: shares and standard deviations of the Gaussians that it is the sum of.

        Electrons scatter in the target whatever the probe, so widths and probe (FWHM 2.355 sigma) add in quadrature.
        ValueError for a probe that is not positive, and where the given widths are narrower than their own probe.
        """
        if not probe_nm > 0:
            raise ValueError(f"probe_nm: needs a positive width, got {probe_nm}")
        wider_nm2 = (probe_nm**2 - self.spot_probe_nm**2) / (8 * math.log(2))
        squares_nm2 = [sigma**2 + wider_nm2 for sigma in (self.spot_core_sigma_nm, self.spot_tail_sigma_nm)]
        if min(squares_nm2) <= 0:
            raise ValueError(
                f"probe_nm: a spot of {self.spot_core_sigma_nm:.4g} nm sigma cannot come from a probe of "
                f"{self.spot_probe_nm:.4g} nm, so its width at {probe_nm:.4g} nm is unknown; "
                "correct source.spot_probe_nm in the settings"
            )
        return {
            "shares": [self.spot_core_fraction, 1 - self.spot_core_fraction],
            "sigma_um": [1e-3 * math.sqrt(square) for square in squares_nm2],
            "vertical_stretch": self.spot_vertical_stretch,
        }


class Motion(_Section):
    """What moves although nobody asked for it; every path hangs on the seed."""

    drift_nm_per_h: float = 60.0
    thermal_drift_um: float = 0.3  # assumed: amplitude of the exponential after start-up
    thermal_time_h: float = 3.0  # assumed
    move_drift_um: float = 0.1  # assumed: amplitude of the exponential after a change of mode or target
    move_time_h: float = 0.5  # assumed
    runout_nm: float = 150.0


class StageLimits(_Section):
    xy_um: tuple[float, float] = (-500.0, 500.0)
    z_um: tuple[float, float] = (-200.0, 200.0)
    tilt_deg: tuple[float, float] = (-10.0, 60.0)
    bias_v: tuple[float, float] = (0.0, 1000.0)
    bias_off_below_v: float = 1.0  # a stage under this counts as grounded
    flat_lowering_um: float = 30.0
    speed_um_per_s: float = 100.0  # assumed
    tilt_deg_per_s: float = 1.0  # assumed
    rotation_deg_per_s: float = 10.0  # assumed
    rotation_deg: tuple[float, float] = (-3600.0, 3600.0)  # it turns without end, nobody means more


class TargetLimits(_Section):
    """Target manipulator in the laboratory frame; the working position puts the focal spot at x = -source_object."""

    x_um: tuple[float, float] = (-10000.0, 0.0)
    y_um: tuple[float, float] = (-2000.0, 2000.0)
    z_um: tuple[float, float] = (-500.0, 2000.0)
    park_x_um: float = -8000.0
    clearance_um: float = 100.0  # never closer to the pillar's swept cylinder or the disk
    disk_clearance_um: float = 20.0
    materials: tuple[str, ...] = ("W", "Cu", "Cr")
    speed_um_per_s: float = 500.0  # assumed
    exchange_s: float = 120.0  # assumed: to bring another material to the tip
    working_tolerance_um: float = 25.0  # assumed: further off the working position nothing shines on the detector
    tip_um: float = 100.0  # assumed: edge of the square face that the electron beam can hit


class IonColumn(_Section):
    """Gallium FIB."""

    voltage_kv: float = 30.0
    current_pa: float = 50.0
    milling_current_pa: float = 1000.0
    current_limits_pa: tuple[float, float] = (1.5, 65000.0)
    voltage_limits_kv: tuple[float, float] = (2.0, 30.0)
    core_fwhm_nm: float = 20.0  # at core_current_pa
    core_current_pa: float = 50.0
    core_growth: float = 0.4  # assumed: FWHM grows as current to this power
    core_energy_exponent: float = 0.8  # assumed: FWHM shrinks as impact energy to this power, 1 at 29.5 keV
    tail_sigma_nm: float = 150.0
    tail_fraction: float = 0.03
    charging_nm_per_na: tuple[float, float] = (20.0, 0.0)  # assumed: how the specimen's charge moves the scan (u, v)
    max_scan_field_um: float = 200.0


class Sputtering(_Section):
    """Atoms per gallium ion at normal incidence (binary-collision code), and what becomes of them."""

    reference_kev: float = 29.5  # impact energy at which the yields and rates below hold
    surface_binding_ev: float = 4.0  # assumed: of all materials, for how yields depend on the impact energy
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
    collection_exponent: float = 1.0  # assumed: a tilted facet emits off axis, cos(tilt)^exponent of it is collected
    gallium_range_nm: float = 14.0
    gallium_on_ion_yield: float = -0.5  # assumed: relative change per atomic fraction of gallium missing at the surface
    redeposited_fraction: float = 0.002  # assumed: of what a raster sputters, lands again around there; 0 for none
    redeposition_um: float = 1.0  # assumed: standard deviation of how far from its origin it lands


class Deposition(_Section):
    """Platinum from a precursor gas that the ion beam cracks; the gas flows only while a pattern is drawn."""

    rate_um3_per_nc: float = 0.5  # assumed: Pt20C80 put down, net of what the ions sputter meanwhile
    pa_per_um2: float = 6.0  # assumed: usual current per area of the pattern
    max_pa_per_um2: float = 30.0  # assumed: with more the gas runs short and the beam mills instead


class Sector(_Section):
    """Double-focusing magnetic sector with four collectors detecting in parallel."""

    field_t: float = 0.5
    field_limits_t: tuple[float, float] = (0.05, 1.2)
    extraction_v: float = 2500.0
    extraction_limits_v: tuple[float, float] = (0.0, 5000.0)
    bias_v: float = 500.0
    slit_mm: float = 0.19  # image width for a mass resolving power of 450 at mass 59 on the focal plane
    slit_reference_radius_mm: float = 121.07  # slits elsewhere are scaled with their radius
    resolving_power: float = 450.0  # M / FWHM of the image of one mass
    full_transmission_bias_v: float = 400.0  # assumed: below that the extraction field collects in proportion
    radius_limits_mm: tuple[float, float] = (30.0, 130.0)
    min_collector_spacing_mm: float = 1.0
    min_bias_v: float = 100.0  # assumed: with less on the stage a raster would only erode
    slit_limits_mm: tuple[float, float] = (0.01, 2.0)  # assumed
    dead_time_ns: float = 25.0
    dark_rate_cps: float = 5.0
    hydrocarbon_on_al_per_ion: float = 5.83e-6  # C2H3+ from binder before the slit: 1 per pixel at 0.55 ms and 50 pA
    hydrocarbon_on_al: bool = True
    other_organics_per_ion: float = 0.0  # assumed: 12C14NH+ (on 27Al) and C3H7O+ (on 59Co), each, likewise
    hydride_per_ion: float = 1e-3  # assumed: MH+ per M+ (58NiH on 59Co, 6LiH on 7Li); 0 for none
    dioxide_per_ion: float = 1e-4  # assumed: MO2+ per M+ (AlO2 on 59Co); 0 for none
    channels: tuple[str, ...] = ("7Li", "27Al", "58Ni", "59Co")
    natural_6li_per_7li: float = 0.0759 / 0.9241  # of what nobody has enriched


class SurfaceGrid(_Section):
    """Height map over the pillar's top, and what a hole hides."""

    pitch_um: float = 0.03
    width_um: float = 44.0
    milling_columns: int = 96  # per side of a milled box: columns on which a pass finds out how deep it gets
    probe_depth_nm: float = 1.0  # what a beam meets: the material this far under the surface
    horizon_um: tuple[float, ...] = (0.03, 0.06, 0.1, 0.16, 0.25, 0.4, 0.64, 1.0, 1.6)  # where walls are looked for


class Electrons(_Section):
    """What the SEM sees: secondary electrons by material and tilt, characteristic X-rays by composition."""

    voltage_kv: float = 15.0
    current_na: float = 1.0
    se_counts_per_electron: float = 0.05  # assumed: detected per incident electron on flat LCO
    se_counts_per_ion: float = 0.5  # assumed: an ion frees more electrons
    se_lco: float = 1.0
    se_nca: float = 0.98
    se_binder: float = 0.5
    se_metal: float = 1.3
    se_dark_fraction: float = 0.01  # assumed: signal where nothing is hit
    channelling: float = 0.1  # assumed: contrast from crystal to crystal, grains of NCA and particles of LCO
    tilt_exponent: float = 1.0  # SE yield rises as 1/cos(tilt)^exponent
    tilt_gain_limit: float = 3.0
    focus_depth_um: float = 30.0  # assumed: what lies deeper is dim and out of focus
    probe_fwhm_nm: float = 5.0
    eds_counts_per_electron: float = 2.0e-6  # assumed: pure nickel at twice its K edge
    eds_background: float = 0.002  # assumed: bremsstrahlung under a line, relative to the pure element
    eds_lowest_kev: float = 0.2  # softer lines do not get through the detector's window
    eds_overvoltage: float = 1.2  # a line is used from this multiple of its edge on
    eds_blur_per_range: float = 0.25  # lateral sigma of the interaction volume over the electron range
    eds_depths_per_range: tuple[float, ...] = (0.1, 0.3, 0.6)  # where the interaction volume is sampled
    eds_depth_weights: tuple[float, ...] = (0.4, 0.45, 0.15)  # share of the X-rays made there, assumed


class ModeChange(_Section):
    """How badly the scan frame of a newly chosen mode agrees with the specimen frame; drawn anew at each change."""

    offset_um: tuple[float, float] = (2.0, 5.0)
    rotation_deg: float = 1.0
    scale: float = 0.01
    shear_deg: float = 0.5
    drift_nm_per_min: float = 5.0
    duration_s: float = 60.0  # assumed


class Scan(_Section):
    """What the scan generators of both columns can be told."""

    pixels: tuple[int, int] = (2, 4096)  # per side
    min_field_um: float = 0.1
    dwell_limits_ms: tuple[float, float] = (1e-4, 1000.0)
    fov_um: float = 20.7  # what they start with
    side_px: int = 512
    sims_dwell_ms: float = 0.55
    sem_dwell_us: float = 1.0
    eds_dwell_ms: float = 5.0  # assumed
    roi_depth_um: float = 3.0  # assumed: how deep a defect lies that is still to be found, for estimates


class Chamber(_Section):
    pressure_pa: float = 1e-4  # assumed
    exchange_s: float = 1200.0  # assumed: to bring another specimen in through the airlock


class Planning(_Section):
    """What the planner of protocols asks for, and what it cannot work out."""

    residual_motion_nm: float = 15.0  # rms at the pillar's rim that the geometry correction leaves, as benchmarked
    visible_snr: float = 5.0  # signal to noise from which a pore counts as seen (Rose, J. Opt. Soc. Am. 38 (1948) 196)
    least_counts: float = 20.0  # assumed: behind the pillar; with fewer the logarithm is off by more than 2.5 %
    map_depth_nm: float = 50.0  # assumed: what a map may consume of the plane that it shows


class Suspension(_Section):
    """When a plan under way is suspended, and when it goes on."""

    min_current_fraction: float = 0.5  # assumed: of the electron current that was set; drift alone takes 26 % in 30 h
    max_pressure_pa: float = 1e-2  # assumed
    max_detector_temperature_c: float = 45.0  # assumed
    settle_s: float = 60.0  # assumed: for so long everything has to be right again
    poll_s: float = 5.0  # assumed: between two looks, in wall time while a plan runs, in instrument time while it waits
    give_up_s: float = 21600.0  # assumed: then the plan fails


class Specimen(_Section):
    """The cathode pillar; z is counted in the specimen frame, whose origin is the centre of the CT window."""

    diameter_um: float = 40.0
    top_um: float = 4.5  # two micrometres of window stay free above the pillar
    height_um: float = 170.0
    detail_depth_um: float = 40.0  # below that the pillar is its own average
    pedestal_um: float = 100.0  # diameter; it stands on the disk and reaches up to the pillar's foot
    disk_below_top_um: float = 280.0  # the disk's surface lies this far under the pillar's top
    disk_diameter_um: float = 3000.0  # assumed
    disk_thickness_um: float = 1000.0  # assumed
    deposit_diameter_um: float = 56.0  # assumed: platinum collar around the pillar's foot
    deposit_height_um: float = 12.0  # assumed
    fraction_lco: float = 0.31  # of the pillar's volume; what the three leave is pores
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
    decorated_boundary_share: float = 0.11  # of grain facets rich in aluminium; all of them would be 18 % of NCA
    binder_al_fraction: tuple[float, float] = (0.002, 0.01)  # at contact with NCA, drawn per NCA particle
    binder_al_length_um: float = 1.5
    enriched_um: tuple[tuple[float, float, float, PositiveFloat], ...] = ()  # x, y, z, radius of spheres rich in 6Li
    enriched_6li_share: Annotated[float, Field(ge=0, le=1)] = 0.5  # assumed: of the lithium in them; ions alone see it


class Settings(_Section):
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
