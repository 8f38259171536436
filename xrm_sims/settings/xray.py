"""X-ray geometry, detector, electron column and X-ray source."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from xrm_sims.settings.section import Section


class XrayGeometry(Section):
    """Distances of source, rotation axis and detector (magnification 440 mm / 0.4 mm = 1100)."""

    source_object_mm: float = 0.4
    source_detector_mm: float = 440.0
    rays_per_pixel_edge: int = 1  # twin only: rays along each edge of a binned pixel, where its size is divisible
    edge_enhancement: bool = False  # twin only: refraction makes fringes along edges


class Detector(Section):
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
    paralyzable: bool = False  # assumed: a photon within the dead time does not prolong it
    counter_depth_bits: int = 24  # 12 clips at 4095
    dark_rate_cps: float = 1e-4  # per pixel
    bad_pixel_fraction: float = 0.003
    hot_share_of_bad: float = 0.3  # assumed; the others are dead
    hot_rate_cps: float = 500.0  # assumed
    gain_dispersion: float = 0.03
    max_exposure_s: float = 3600.0
    min_exposure_s: float = 1e-3
    threshold_limits_kev: tuple[float, float] = (2.0, 30.0)  # assumed
    binnings: tuple[int, ...] = (1, 2, 4, 8)
    temperature_c: float = 25.0  # assumed


class ElectronColumn(Section):
    """The SEM column as source of the X-ray target."""

    voltage_kv: float = 30.0
    current_na: float = 400.0
    probe_nm: float = 90.0
    probe_growth: float = 0.375  # assumed: the smallest probe grows as current to this power (Goldstein 2018)
    voltage_limits_kv: tuple[float, float] = (0.5, 30.0)
    current_limits_na: tuple[float, float] = (0.001, 500.0)
    current_decay_per_h: float = 0.01  # assumed
    probe_limits_nm: tuple[float, float] = (1.0, 1000.0)  # assumed
    max_scan_field_um: float = 500.0


class Source(Section):
    """X-ray source spot and spectrum on a bulk target (electron Monte Carlo; spekpy 2.5 casim)."""

    spot_core_sigma_nm: float = 60.0
    spot_core_fraction: float = 0.26
    spot_tail_sigma_nm: float = 259.0
    spot_probe_nm: float = 90.0  # electron probe (FWHM) for which both widths hold
    spot_vertical_stretch: float = 1.2  # assumed: the spot is wider along z
    least_voltage_kv: float = 10.0  # assumed: below it a target emits no hard X-rays
    take_off_deg: float = 30.0  # assumed: between the target's face and the beam
    wear_per_c: float = 0.0  # assumed: flux lost per coulomb on one spot of the target
    # assumed: power per probe width at which the surface melts, pi/2 x conductivity x rise to the melting point
    melting_w_per_um: dict[str, float] = Field(default={"W": 0.63, "Cu": 0.63, "Cr": 0.21})

    @property
    def focal_spot(self) -> dict[str, Any]:
        """Focal spot of the electron probe ``spot_probe_nm``."""
        return self.focal_spot_of(self.spot_probe_nm)

    def focal_spot_of(self, probe_nm: float) -> dict[str, Any]:
        """Return shares, standard deviations and vertical stretch of the Gaussians that make up the focal spot.

        Scattering in the target does not depend on the probe, so its width and the probe's (FWHM 2.355 sigma) add in
        quadrature. Raises ValueError for a probe that is not positive, and for widths narrower than ``spot_probe_nm``.
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
