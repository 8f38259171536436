"""Find the protocol that meets requirements, or the physical reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from plans.ions import SimsRaster
from xrm_sims.app.planner.noise import pore_snr
from xrm_sims.app.planner.predict import Planner, Prediction, views_for
from xrm_sims.app.planner.protocols import PAPER_FOV_UM, Protocol, full_turn, paper_protocol, probe_at
from xrm_sims.feasibility import check_photons, check_target_power
from xrm_sims.settings import Settings

VIEWS = (90, 120, 180, 240, 300, 360, 450, 600, 720, 900, 1200, 1500, 1800, 2400, 3000, 3600)  # with round steps
MAX_CANDIDATES = 3  # numbers of views tried, from the fewest that are enough
CURRENTS = (0.25, 0.5, 1.0)  # relative to the settings' current; the highest possible one is tried as well
MAP_PIXELS = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 32)
EXPOSURE_ROUNDS = 4  # iterations that find an exposure; the noise is nearly proportional to its inverse root
TOLERANCE = 1.02  # protocols whose ratio to the best is smaller count as equally good
NAME = "as requested"


@dataclass(frozen=True)
class Requirements:
    """None leaves a quantity free; ValueError for a number that is not positive.

    hours : for the tomogram with its flats, at most. counts : per pixel and view in the open beam, at least.
    resolution_nm : edge width, at most, with enough views for it up to the pillar's rim. current_na : on the target.
    sims_counts : of 58Ni in NCA per pixel, at least. map_depth_nm : erosion by the map, at most.
    """

    hours: float | None = None
    counts: float | None = None
    resolution_nm: float | None = None
    current_na: float | None = None
    sims_counts: float | None = None
    target: str = "W"
    fov_um: float = PAPER_FOV_UM
    map_depth_nm: float | None = None

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, (int, float)) and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{entry.name}: needs a positive number, got {value}")

    @property
    def of_tomogram(self) -> bool:
        return any(w is not None for w in (self.hours, self.counts, self.resolution_nm, self.current_na))

    @property
    def any(self) -> bool:
        return self.of_tomogram or self.sims_counts is not None


def find_protocol(planner: Planner, required: Requirements) -> Prediction:
    """Return the best protocol that meets the requirements; free quantities are the paper's.

    With a time limit, the tomogram has the least product of edge width and smallest pore. Without one, it is the
    shortest that has the edge width (default: the paper's) and the counts (default: pores that are not larger, relative
    to the edge width, than the paper's).

    Raises ValueError with the physical reason if there is no such protocol.
    """
    settings = planner.settings
    if required.current_na is not None:
        check_current(settings, required.target, required.current_na)
    chosen = replace(paper_protocol(settings, required.fov_um, required.target), name=NAME)
    if required.of_tomogram:
        chosen = _Search(planner, required, chosen).best()
    if required.sims_counts is not None:
        chosen = replace(chosen, sims=find_map(planner, required.sims_counts, chosen.sims, required.map_depth_nm))
    return planner.predict(chosen)


def check_current(settings: Settings, target: str, current_na: float) -> None:
    """Raise ValueError for a current that would melt the target, or that the electron column cannot deliver."""
    electron = settings.electron
    check_target_power(settings, target, electron.voltage_kv, current_na, probe_at(settings, current_na))
    low, high = electron.current_limits_na
    if not low <= current_na <= high:
        raise ValueError(f"beam: {current_na:.4g} nA are needed, but the electron column gives {low:g} to {high:g} nA")


class _Search:
    """Search over binnings, currents and numbers of views for one set of requirements."""

    def __init__(self, planner: Planner, required: Requirements, base: Protocol) -> None:
        self.planner, self.settings, self.required = planner, planner.settings, required
        self.base = base
        self.beam = planner.beam(required.target)
        usual = planner.tomogram(base)
        self.pore_per_edge = usual.pore_um / usual.edge_um
        if required.resolution_nm is not None:
            self.edge_um = 1e-3 * required.resolution_nm
        elif required.hours is not None:
            self.edge_um = math.inf
        else:
            given = replace(base, current_na=required.current_na or base.current_na)
            self.edge_um = planner.blur(given).edge_width_um()

    def best(self) -> Protocol:
        check_photons(self.settings, self.settings.electron.voltage_kv, self.settings.detector.threshold_kev)
        optics = list(self._optics())
        widths = [self.planner.blur(one).edge_width_um() for one in optics]
        if min(widths) > self.edge_um:
            raise ValueError(self._too_sharp(optics[widths.index(min(widths))], min(widths)))
        possible: list[tuple[float, Protocol]] = []  # with their cost
        too_dark: list[tuple[float, Protocol]] = []  # with the current that they would need
        for sharp, width_um in zip(optics, widths, strict=True):
            for one in self._with_views(sharp, width_um) if width_um <= self.edge_um else ():
                least_s, most_s = self._least_exposure_s(one), self._most_exposure_s(one)
                if not least_s <= most_s:
                    too_dark.append((one.current_na * least_s / most_s if most_s > 0 else math.inf, one))
                elif self.required.hours is None:
                    done = _exposed(one, _rounded(least_s, math.ceil))
                    possible.append((done.scan.estimate(self.settings).time_s, done))
                else:
                    done = _exposed(one, _rounded(most_s, math.floor))
                    predicted = self.planner.tomogram(done)
                    possible.append((predicted.edge_um * predicted.pore_um, done))
        if not possible:
            raise ValueError(self._too_dark(*min(too_dark, key=lambda each: (each[0], each[1].scan.num))))
        best = min(cost for cost, _ in possible)
        return min((one for cost, one in possible if cost <= TOLERANCE * best), key=lambda one: one.scan.num)

    def _optics(self) -> Iterator[Protocol]:
        """Yield all binnings with the required current, or with all currents that the target withstands."""
        electron = self.settings.electron
        currents = {c * electron.current_na for c in CURRENTS} | {electron.current_limits_na[1]}
        if self.required.current_na is not None:
            currents = {self.required.current_na}
        for current_na, binning in product(sorted(currents), self.settings.detector.binnings):
            try:
                check_current(self.settings, self.required.target, current_na)
            except ValueError:
                continue
            scan = full_turn(VIEWS[0], 1.0, binning, self.required.target)
            yield replace(self.base, scan=scan, current_na=current_na)

    def _with_views(self, optics: Protocol, edge_um: float) -> list[Protocol]:
        least = views_for(edge_um, self.settings.specimen.diameter_um)
        enough = [num for num in VIEWS if num >= least] or [least]
        scan = optics.scan
        return [replace(optics, scan=full_turn(num, 1.0, scan.binning, scan.target)) for num in enough[:MAX_CANDIDATES]]

    def _most_exposure_s(self, one: Protocol) -> float:
        """Return the longest exposure that detector, time limit and beam allow.

        The beam decays; at the settings' least current a scan is suspended.
        """
        settings = self.settings
        decay, least = settings.electron.current_decay_per_h, settings.suspension.min_current_fraction
        hours = -math.log(least) / decay if decay > 0 and least > 0 else math.inf
        hours = min(hours, self.required.hours or math.inf)
        at_1_s, at_2_s = (_exposed(one, t).scan.estimate(settings).time_s for t in (1.0, 2.0))
        frames = at_2_s - at_1_s
        return min((3600 * hours - (at_1_s - frames)) / frames, settings.detector.max_exposure_s)

    def _least_exposure_s(self, one: Protocol) -> float:
        """Return the shortest exposure: for the required counts, and for those that a logarithm needs.

        Without required counts or time, also for noise in which the paper's pore is visible at this edge width.
        """
        settings, required = self.settings, self.required
        chord_um = np.array(settings.specimen.diameter_um)
        per_s = self.planner.open_counts(one)
        through = float(self.beam.transmission(chord_um))
        least_s = max(settings.planning.least_counts / through, required.counts or 0.0) / per_s
        if required.hours is None and required.counts is None:
            pore_um, visible_s = self.pore_per_edge * self.edge_um, self._most_exposure_s(one)
            if pore_um < 2 * settings.voxel_um * one.scan.binning:
                return math.inf
            for _ in range(EXPOSURE_ROUNDS):
                longer = _exposed(one, visible_s)
                snr = pore_snr(pore_um, self.planner.blur(longer), self.planner.noise(longer))
                visible_s *= (settings.planning.visible_snr / snr) ** 2
            least_s = max(least_s, visible_s)
        return max(least_s, settings.detector.min_exposure_s)

    def _too_sharp(self, sharpest: Protocol, width_um: float) -> str:
        spot = self.planner.blur(sharpest).spot
        core, tail = (f"{1e3 * sigma:.0f} nm" for sigma in spot.sigma_um)
        return (
            f"resolution: {1e3 * self.edge_um:.4g} nm are finer than the focal spot; the electrons' scattering in the "
            f"target makes its core {core} and its tail {tail} wide (standard deviations); at "
            f"{sharpest.current_na:.4g} nA the edge is {1e3 * width_um:.0f} nm wide, ask for that or more"
        )

    def _too_dark(self, current_na: float, one: Protocol) -> str:
        """Return what the closest protocol needs, and why there is no such beam."""
        scan, required = one.scan, self.required
        pitch_nm = 1e3 * self.settings.voxel_um * scan.binning
        limit = f"{required.hours:.4g} h" if required.hours is not None else "the time until the beam is too weak"
        sharp = f" for {1e3 * self.edge_um:.4g} nm up to the pillar's rim" if math.isfinite(self.edge_um) else ""
        scans = f"{scan.num} views in pixels of {pitch_nm:.4g} nm{sharp}"
        if not math.isfinite(current_na):
            return f"hours: the moves of {scans} take longer than {limit} even without exposure; give more time"
        needs = f"{scans} need {current_na:.4g} nA to be bright enough within {limit}"
        try:
            check_current(self.settings, required.target, current_na)
        except ValueError as reason:
            return f"{needs}; {reason}"
        return f"{needs}, but a beam with this resolution has {one.current_na:.4g} nA; give more time or require less"


def _exposed(one: Protocol, exposure_s: float) -> Protocol:
    return replace(one, scan=replace(one.scan, exposure_s=exposure_s))


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """Round to three digits, by ``math.floor`` or ``math.ceil``."""
    digits = 2 - math.floor(math.log10(value))
    return round(towards(round(value * 10.0**digits, 6)) / 10.0**digits, max(digits, 0))


def find_map(
    planner: Planner,
    counts: float,
    like: SimsRaster,
    depth_nm: float | None = None,
    most_pixels: int = max(MAP_PIXELS),
) -> SimsRaster:
    """Return the map of the field of ``like`` with so many counts of 58Ni from a pixel of NCA.

    It has the finest pixels that erode at most ``depth_nm`` (default ``settings.planning.map_depth_nm``), not finer
    than the beam, and at most ``most_pixels`` along a side. Raises ValueError if even the coarsest pixels erode more.
    """
    settings = planner.settings
    allowed_nm = settings.planning.map_depth_nm if depth_nm is None else depth_nm
    dwell_ms = like.raster.dwell_ms * counts / planner.ions_per_pixel(like, "NCA", "58Ni")
    lowest_ms, highest_ms = settings.scan.dwell_limits_ms
    frames = max(1, math.ceil(dwell_ms / highest_ms))
    dwell_ms = max(_rounded(dwell_ms / frames, math.ceil), lowest_ms)
    beam_nm = planner.map(like).beam_nm
    for pixels in (n for n in MAP_PIXELS if n <= most_pixels):
        raster = replace(like.raster, shape=(pixels, pixels), dwell_ms=dwell_ms)
        one = replace(like, raster=raster, frames=frames)
        eroded_nm = one.estimate(settings).eroded_nm
        if 1e3 * raster.pixel_um >= beam_nm and eroded_nm <= allowed_nm:
            return one
    raise ValueError(
        f"sims_counts: {counts:.4g} counts of 58Ni from a pixel of NCA erode {eroded_nm:.3g} nm even in "
        f"{MAP_PIXELS[-1]} x {MAP_PIXELS[-1]} pixels over {like.raster.fov_um:g} um, but the map may erode "
        f"{allowed_nm:.3g} nm; ask for fewer counts, a wider field or more depth"
    )
