"""Predict what a protocol gives: time, counts, noise, resolution and smallest pore; ions per pixel and erosion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np

from plans.ions import SimsRaster
from recon.algorithms.focal_spot import FocalSpot
from xrm_sims.app.planner.blur import Blur
from xrm_sims.app.planner.noise import Noise, ray_variance, smallest_pore_um, voxel_noise
from xrm_sims.app.planner.protocols import Protocol, probe_at
from xrm_sims.app.planner.tables import Beam, beam_of, counts_per_ion
from xrm_sims.settings import Settings

RATIO = ("58Ni", "59Co")


@dataclass(frozen=True)
class TomogramPrediction:
    """A tomogram by filtered back projection.

    projections_s : exposure of the views; time_s : with darks, flats, reference images and moves.
    open_counts, dark_counts : per pixel and view at the start, in the open beam and behind the pillar's middle.
    noise : standard deviation of a voxel over the grey value of active material, mean over the pillar.
    edge_um : direct half-maximum width of the line spread; pore_um : the smallest visible pore, at least two pixels.
    sampled_um : distance from the axis up to which there are enough views for that width.
    drift_um : expected drift during the scan.
    """

    projections_s: float
    time_s: float
    open_counts: float
    dark_counts: float
    voxel_um: float
    noise: float
    edge_um: float
    pore_um: float
    sampled_um: float
    drift_um: float


@dataclass(frozen=True)
class MapPrediction:
    """A map: counts per pixel in all frames by material and channel, on a flat surface.

    beam_nm : full width at half maximum of the beam's core. ratio_error : relative standard error of Ni/Co in NCA over
    1 um^2.
    """

    time_s: float
    counts: dict[str, dict[str, float]]
    ratio_error: float
    eroded_nm: float
    pixel_nm: float
    beam_nm: float


@dataclass(frozen=True)
class Prediction:
    protocol: Protocol
    ct: TomogramPrediction
    sims: MapPrediction

    @property
    def time_s(self) -> float:
        return self.ct.time_s + self.sims.time_s


class Planner:
    """Predicts for one instrument, for volumes by :func:`recon.fdk` with a window.

    The default window keeps all detail that the pixels hold, and its noise; regularisation trades detail for noise.
    """

    def __init__(self, settings: Settings, *, window: str = "sharp") -> None:
        self.settings = settings
        self.window = window
        self.beam: Callable[[str], Beam] = cache(partial(beam_of, settings))
        self._ray_variance_um2 = cache(lambda target: ray_variance(self.beam(target), settings.specimen.diameter_um))

    def predict(self, protocol: Protocol) -> Prediction:
        return Prediction(protocol, self.tomogram(protocol), self.map(protocol.sims))

    @cached_property
    def _per_ion(self) -> dict[str, dict[str, float]]:
        return counts_per_ion(self.settings)

    def open_counts(self, protocol: Protocol) -> float:
        """Return the counts per pixel and view in the open beam."""
        scan = protocol.scan
        return self.beam(scan.target).open_per_s_na * protocol.current_na * scan.exposure_s * scan.binning**2

    def blur(self, protocol: Protocol) -> Blur:
        """Return the blur by focal spot (at this current), pixel, residual motion, and drift within one exposure."""
        settings, scan = self.settings, protocol.scan
        spot = FocalSpot.from_dict(settings.source.focal_spot_of(probe_at(settings, protocol.current_na)))
        pitch_um = settings.voxel_um * scan.binning
        within_nm = settings.motion.drift_nm_per_h * scan.exposure_s / 3600 / math.sqrt(12)
        motion_nm = math.hypot(settings.planning.residual_motion_nm, within_nm)
        return Blur(spot, pitch_um, 1e-3 * motion_nm, self.window)

    def noise(self, protocol: Protocol) -> Noise:
        """Return the noise; the variance grows by the mean of exp(k t) as the beam decays during the scan."""
        settings, scan = self.settings, protocol.scan
        decay = settings.electron.current_decay_per_h * scan.estimate(settings).time_s / 3600
        variance_um2 = self._ray_variance_um2(scan.target) / self.open_counts(protocol)
        if decay > 0:
            variance_um2 *= math.expm1(decay) / decay
        paired = self.beam(scan.target).paired / scan.binning
        return voxel_noise(variance_um2, scan.num, settings.voxel_um * scan.binning, self.window, paired)

    def tomogram(self, protocol: Protocol) -> TomogramPrediction:
        settings, scan = self.settings, protocol.scan
        blur, noise, counts = self.blur(protocol), self.noise(protocol), self.open_counts(protocol)
        radius_um = 0.5 * settings.specimen.diameter_um
        edge_um = blur.edge_width_um()
        time_s = scan.estimate(settings).time_s
        hours = time_s / 3600
        through = float(self.beam(scan.target).transmission(np.array(2 * radius_um)))
        pore_um = smallest_pore_um(blur, noise, settings.planning.visible_snr)
        return TomogramPrediction(
            projections_s=scan.num * scan.exposure_s,
            time_s=time_s,
            open_counts=counts,
            dark_counts=counts * through,
            voxel_um=blur.pitch_um,
            noise=noise.per_voxel,
            edge_um=edge_um,
            pore_um=max(pore_um, 2 * blur.pitch_um),
            sampled_um=min(0.5 * sampled_diameter_um(scan.num, edge_um), radius_um),
            drift_um=1e-3 * settings.motion.drift_nm_per_h * math.hypot(hours, math.sqrt(hours)),
        )

    def ions_per_pixel(self, sims: SimsRaster, material: str, channel: str) -> float:
        """Return the secondary ions that reach a collector per pixel, in all frames."""
        return self._per_ion[material][channel] * sims.frames * sims.raster.ions_per_pixel(sims.current_pa)

    def map(self, sims: SimsRaster) -> MapPrediction:
        settings, raster, estimate = self.settings, sims.raster, sims.estimate(self.settings)
        dwell_s = sims.frames * raster.dwell_ms * 1e-3

        def counted(arriving: float) -> float:
            rate_cps = arriving / dwell_s + settings.sector.dark_rate_cps
            return dwell_s * rate_cps / (1 + rate_cps * settings.sector.dead_time_ns * 1e-9)  # non-paralyzable counter

        counts = {m: {c: counted(self.ions_per_pixel(sims, m, c)) for c in of} for m, of in self._per_ion.items()}
        per_um2 = [counts["NCA"][channel] / raster.pixel_um**2 for channel in RATIO]
        error = math.sqrt(sum(1 / number for number in per_um2))
        ion = settings.ion
        beam_nm = ion.core_fwhm_nm * (sims.current_pa / ion.core_current_pa) ** ion.core_growth
        return MapPrediction(estimate.time_s, counts, error, estimate.eroded_nm, 1e3 * raster.pixel_um, beam_nm)


def views_for(edge_um: float, diameter_um: float) -> int:
    """Return the views over a full turn that sample detail of this size up to the rim, 2 pi D / d.

    The factor 2: rays half a turn apart are the same (Crowther, DeRosier and Klug, Proc. R. Soc. A 317 (1970) 319).
    """
    return math.ceil(2 * math.pi * diameter_um / edge_um)


def sampled_diameter_um(views: int, edge_um: float) -> float:
    """Return the diameter that so many views sample: the inverse of :func:`views_for`."""
    return views * edge_um / (2 * math.pi)
