"""From what is wanted to a protocol that gives it, or the physical reason why none does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from plans.ions import SimsRaster
from xrm_sims.app.planner.noise import pore_snr
from xrm_sims.app.planner.outlook import Outlook, Planner, views_for
from xrm_sims.app.planner.protocols import PAPER_FOV_UM, Protocol, full_turn, paper, probe_at
from xrm_sims.feasibility import check_photons, check_target_power
from xrm_sims.settings import Settings

VIEWS = (90, 120, 180, 240, 300, 360, 450, 600, 720, 900, 1200, 1500, 1800, 2400, 3000, 3600)  # of round steps
TRIED = 3  # of them, from the fewest on that sample what is wanted
CURRENTS = (0.25, 0.5, 1.0)  # of the usual one, beside the highest
MAP_PIXELS = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 32)
SETTLED = 4  # rounds of finding an exposure
NEARLY = 1.02  # as good as the best: then the fewest views
NAME = "as wished"


@dataclass(frozen=True)
class Wishes:
    """None leaves it free; numbers that are not positive are refused with ValueError.

    hours : for the tomogram with its flats, at most. counts : per pixel and view in the open beam, at least.
    resolution_nm : edge width, at most, with views enough for it up to the pillar's rim. current_na : on the target.
    sims_counts : of 58Ni in NCA per pixel, at least. map_depth_nm : what the map may consume.
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


def fulfil(planner: Planner, wishes: Wishes) -> Outlook:
    """The protocol for the wishes, the paper's where they say nothing.

    With a time it is the tomogram that shows most in it: the least product of edge width and smallest pore. Without,
    the shortest that is as sharp as wished (else as the paper's) and brings the counts, or else shows pores that are no
    larger in relation to the resolution than the paper's.

    Raises ValueError with the physical reason where none does it.
    """
    settings = planner.settings
    if wishes.current_na is not None:
        check_current(settings, wishes.target, wishes.current_na)
    chosen = replace(paper(settings, wishes.fov_um, wishes.target), name=NAME)
    if wishes.of_tomogram:
        chosen = _Search(planner, wishes, chosen).best()
    if wishes.sims_counts is not None:
        chosen = replace(chosen, sims=map_for(planner, wishes.sims_counts, chosen.sims, wishes.map_depth_nm))
    return planner.outlook(chosen)


def check_current(settings: Settings, target: str, current_na: float) -> None:
    """ValueError for a current that would melt the target in the probe that it makes, or that the column does not
    give."""
    electron = settings.electron
    check_target_power(settings, target, electron.voltage_kv, current_na, probe_at(settings, current_na))
    low, high = electron.current_limits_na
    if not low <= current_na <= high:
        raise ValueError(f"beam: {current_na:.4g} nA are needed, and the electron column gives {low:g} to {high:g} nA")


class _Search:
    """Over pixels, currents and numbers of views, for one set of wishes."""

    def __init__(self, planner: Planner, wishes: Wishes, like: Protocol) -> None:
        self.planner, self.settings, self.wishes = planner, planner.settings, wishes
        self.like = like
        self.beam = planner.beam(wishes.target)
        usual = planner.tomogram(like)
        self.as_paper = usual.pore_um / usual.edge_um
        if wishes.resolution_nm is not None:
            self.edge_um = 1e-3 * wishes.resolution_nm
        elif wishes.hours is not None:
            self.edge_um = math.inf
        else:
            given = replace(like, current_na=wishes.current_na or like.current_na)
            self.edge_um = planner.blur(given).edge_width_um()

    def best(self) -> Protocol:
        check_photons(self.settings, self.settings.electron.voltage_kv, self.settings.detector.threshold_kev)
        optics = list(self._optics())
        widths = [self.planner.blur(one).edge_width_um() for one in optics]
        if min(widths) > self.edge_um:
            raise ValueError(self._too_sharp(optics[widths.index(min(widths))], min(widths)))
        possible: list[tuple[float, Protocol]] = []
        short: list[tuple[float, Protocol]] = []
        for one, width_um in zip(optics, widths, strict=True):
            if width_um <= self.edge_um:
                for started in self._with_views(one, min(width_um, self.edge_um)):
                    wanted_s, room_s = self._wanted_s(started), self._room_s(started)
                    if not wanted_s <= room_s:
                        short.append((started.current_na * wanted_s / room_s if room_s > 0 else math.inf, started))
                    elif self.wishes.hours is None:
                        done = _exposed(started, _rounded(wanted_s, math.ceil))
                        possible.append((done.scan.estimate(self.settings).time_s, done))
                    else:
                        done = _exposed(started, _rounded(room_s, math.floor))
                        outlook = self.planner.tomogram(done)
                        possible.append((outlook.edge_um * outlook.pore_um, done))
        if not possible:
            raise ValueError(self._too_dark(*min(short, key=lambda each: (each[0], each[1].scan.num))))
        best = min(value for value, _ in possible)
        return min((one for value, one in possible if value <= NEARLY * best), key=lambda one: one.scan.num)

    def _optics(self) -> Iterator[Protocol]:
        """Pixels and currents; those that wishes fix, and what target and column stand."""
        electron = self.settings.electron
        currents = {c * electron.current_na for c in CURRENTS} | {electron.current_limits_na[1]}
        if self.wishes.current_na is not None:
            currents = {self.wishes.current_na}
        for current_na, binning in product(sorted(currents), self.settings.detector.binnings):
            try:
                check_current(self.settings, self.wishes.target, current_na)
            except ValueError:
                continue
            scan = full_turn(VIEWS[0], 1.0, binning, self.wishes.target)
            yield replace(self.like, scan=scan, current_na=current_na)

    def _with_views(self, optics: Protocol, edge_um: float) -> list[Protocol]:
        least = views_for(edge_um, self.settings.specimen.diameter_um)
        enough = [num for num in VIEWS if num >= least] or [least]
        scan = optics.scan
        return [replace(optics, scan=full_turn(num, 1.0, scan.binning, scan.target)) for num in enough[:TRIED]]

    def _room_s(self, one: Protocol) -> float:
        """Longest exposure: the detector's, and what the time allows; without one that in which the beam falls so far
        that a scan is suspended."""
        settings = self.settings
        decay, least = settings.electron.current_decay_per_h, settings.suspension.min_current_fraction
        hours = -math.log(least) / decay if decay > 0 and least > 0 else math.inf
        hours = min(hours, self.wishes.hours or math.inf)
        at_1_s, at_2_s = (_exposed(one, t).scan.estimate(settings).time_s for t in (1.0, 2.0))
        frames = at_2_s - at_1_s
        return min((3600 * hours - (at_1_s - frames)) / frames, settings.detector.max_exposure_s)

    def _wanted_s(self, one: Protocol) -> float:
        """Shortest exposure: the counts that are wished, those that a logarithm needs, and unless counts or a time were
        wished, noise in which the pore in question can be seen."""
        settings, wishes = self.settings, self.wishes
        chord_um = np.array(settings.specimen.diameter_um)
        per_s = self.planner.open_counts(one)
        through = float(self.beam.transmission(chord_um))
        wanted_s = max(settings.planning.least_counts / through, wishes.counts or 0.0) / per_s
        if wishes.hours is None and wishes.counts is None:
            pore_um, seen_s = self.as_paper * self.edge_um, self._room_s(one)
            if pore_um < 2 * settings.voxel_um * one.scan.binning:
                return math.inf
            for _ in range(SETTLED):  # noise goes with one over the root of the exposure, but for the beam's decay
                longer = _exposed(one, seen_s)
                snr = pore_snr(pore_um, self.planner.blur(longer), self.planner.noise(longer))
                seen_s *= (settings.planning.visible_snr / snr) ** 2
            wanted_s = max(wanted_s, seen_s)
        return max(wanted_s, settings.detector.min_exposure_s)

    def _too_sharp(self, sharpest: Protocol, width_um: float) -> str:
        spot = self.planner.blur(sharpest).spot
        core, tail = (f"{1e3 * sigma:.0f} nm" for sigma in spot.sigma_um)
        return (
            f"resolution: {1e3 * self.edge_um:.4g} nm are finer than the focal spot, whose core of {core} and tail of "
            f"{tail} (standard deviations) the electrons' scattering in the target makes; at {sharpest.current_na:.4g} "
            f"nA the edge is {1e3 * width_um:.0f} nm wide, ask for that or more"
        )

    def _too_dark(self, current_na: float, one: Protocol) -> str:
        """What the closest protocol would need, and why there is no such beam."""
        scan, wishes = one.scan, self.wishes
        pitch_nm = 1e3 * self.settings.voxel_um * scan.binning
        limit = f"{wishes.hours:.4g} h" if wishes.hours is not None else "the time in which the beam lasts"
        sharp = f" for {1e3 * self.edge_um:.4g} nm up to the pillar's rim" if math.isfinite(self.edge_um) else ""
        told = f"{scan.num} views in pixels of {pitch_nm:.4g} nm{sharp}"
        if not math.isfinite(current_na):
            return f"hours: the moves of {told} take more than {limit} without any light; give more time"
        told += f" need {current_na:.4g} nA to be bright enough within {limit}"
        try:
            check_current(self.settings, wishes.target, current_na)
        except ValueError as reason:
            return f"{told}; {reason}"
        return f"{told}, and the beam that is so sharp has {one.current_na:.4g} nA; give more time or wish for less"


def _exposed(one: Protocol, exposure_s: float) -> Protocol:
    return replace(one, scan=replace(one.scan, exposure_s=exposure_s))


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """To three digits, by ``math.floor`` or ``math.ceil``."""
    digits = 2 - math.floor(math.log10(value))
    return round(towards(round(value * 10.0**digits, 6)) / 10.0**digits, max(digits, 0))


def map_for(
    planner: Planner,
    counts: float,
    like: SimsRaster,
    depth_nm: float | None = None,
    most_pixels: int = max(MAP_PIXELS),
) -> SimsRaster:
    """The map of a field that brings so many counts of 58Ni from a pixel of NCA: with the finest pixels, though no
    finer than the beam and ``most_pixels`` along a side, that consumes no more than ``depth_nm``
    (``settings.planning.map_depth_nm`` when not given).

    ValueError when even the coarsest pixels consume more.
    """
    settings = planner.settings
    allowed_nm = settings.planning.map_depth_nm if depth_nm is None else depth_nm
    dwell_ms = like.raster.dwell_ms * counts / planner.ions_of(like, "NCA", "58Ni")
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
        f"sims_counts: {counts:.4g} counts of 58Ni from a pixel of NCA dig {eroded_nm:.3g} nm deep even in "
        f"{MAP_PIXELS[-1]} x {MAP_PIXELS[-1]} pixels over {like.raster.fov_um:g} um, since SIMS uses up what it "
        f"counts, and the map may consume {allowed_nm:.3g} nm; ask for fewer counts, a wider field or more depth"
    )
