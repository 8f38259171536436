"""A volume that grows with its scan: each view counts as soon as it is there, and what was used least comes first."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.beam_hardening import BeamHardening, beam_hardening_correction
from recon.algorithms.sart import GOLDEN, LEAST_SUBSETS, NOISE_UNITS, RELAXATION, subset_order
from recon.algorithms.solver import Solver
from recon.alignment.geometry_correction import correct_geometry, source_height_um
from recon.alignment.moments import specimen_radius_um
from recon.frames.rings import ring_errors
from recon.kernels.support import BLUR_ROOM, columns_outside, field_of_view_um, slices_beyond
from recon.live.tracking import Moments, Track
from xrm_sims.geometry import ConeGeometry

VIEWS_PER_SUBSET = 10
SWEEPS = 2  # the first, view by view, has no geometry to rely on yet
LEAST_ALIGNED = 24  # views; fewer do not tell a geometry
ALIGN_SHARE = 0.25  # of the time that the scan still takes: as long may a correction keep from the views
IDLE_GROWTH = 1.25  # with time to spare the geometry is corrected again when there are that many times as many views
RESTART_PX = 1.0  # after a correction that moves the views by more (rms) the volume of before is a bad start
HARDENING_VIEWS = 120  # or half of the scan, if that is less, tell how the beam hardens
COMPARED_SLICES, COMPARED_GROWTH = 8, 1.5
UNUSED_SHARE = 0.5  # of the views, with more of them unused it is a bad start as well
WIDEST_GAP_DEG = 180.0  # a wider one leaves motion and position of the specimen indistinguishable


class GrowingVolume:
    """Line integrals in, volume out, at any time in between.

    Parameters
    ----------
    geometry : as built, with one angle for each view that the scan may take, ascending; views are numbered like these.
    correct : find the shifts of the views from the data (:func:`recon.correct_geometry`): each time their number has
        doubled, up to the half of the scan, unless that would take too long, and whenever there is time to spare.
        Views in between follow by their moments.
    beam_hardening : straighten the line integrals (:func:`recon.beam_hardening_correction`) after a correction.
    sweeps : how often each view is used under one geometry, the last time when all views are there.
    tv, relaxation : as for :func:`recon.sart`.

    Attributes
    ----------
    seen : (n,) which views there are.
    visits : (n,) how often each was used under the geometry of now.
    aligned : number of views that the geometry of now rests on.
    missing : estimate of what more views would still change, rms over the rms of the volume, from what the last ones
        changed; None before there were enough to compare.
    """

    def __init__(
        self,
        geometry: ConeGeometry,
        *,
        correct: bool = True,
        beam_hardening: bool = True,
        sweeps: int = SWEEPS,
        tv: float = NOISE_UNITS,
        relaxation: float = RELAXATION,
    ) -> None:
        n = geometry.num_views
        self.correct, self.sweeps, self.tv, self.relaxation = correct, sweeps, tv, relaxation
        self.seen, self.visits, self.aligned = np.zeros(n, bool), np.zeros(n, int), 0
        self.times_s = np.full(n, np.nan)
        self.missing: float | None = None
        self._before: tuple[int, NDArray[np.float32]] | None = None  # number of views, slices
        self._built = self._found = geometry
        self._measured_deg, self._angles_deg = geometry.angles_deg.copy(), geometry.angles_deg.copy()
        self._shifts_px, self._scale = np.zeros((n, 2)), np.ones(n)
        shape = (n, *geometry.detector_shape)
        self._p, self._weights = np.zeros(shape, np.float32), np.zeros(shape, np.float16)  # memory is taken when filled
        self._rings = np.zeros(geometry.detector_shape, np.float32)
        self._hardening = None if beam_hardening else BeamHardening(0.0, 0.0)
        self._references: list[tuple[NDArray[np.float32], float]] = []
        self._moments = Moments(np.zeros(n), np.zeros(shape[:2]))
        self._track: Track | None = None
        self._began_s = self._align_s = 0.0
        self._milestones = [n / 2**k for k in range(1, 16) if n / 2**k >= LEAST_ALIGNED]
        self._updates = 0
        self._radius_um: float | None = None
        self._solver: Solver | None = None

    def add(
        self,
        views: NDArray[np.int64],
        p: NDArray[np.float32],
        weights: NDArray[np.floating],
        angles_deg: NDArray[np.float64],
        times_s: NDArray[np.float64],
    ) -> None:
        """Views by number: line integrals, trust in them, both (n, row, column); one that came before is replaced."""
        self._began_s = self._began_s or time.perf_counter()
        straight, trusted = p - self._rings, weights.astype(np.float32)
        if self._hardening is not None:
            self._hardening.correct(straight, trusted)
        self._p[views], self._weights[views] = straight, np.minimum(trusted, 1)
        self._measured_deg[views] = self._angles_deg[views] = angles_deg
        self.times_s[views] = times_s
        new = Moments.of(p)
        self._moments.centre_px[views], self._moments.profile[views] = new.centre_px, new.profile
        if self._track is not None:
            self._shifts_px[views] = self._track.shifts_px(new, angles_deg)
            self._angles_deg[views] += self._track.turned_deg(self._shifts_px[views])
            self._scale[views] = self._scale[self._nearest_in_time(views)]
        self.seen[views], self.visits[views] = True, 0

    def add_reference(self, p: NDArray[np.float32], time_s: float) -> None:
        """Line integrals (row, column) of an image at the angle of all references."""
        self._references.append((p, time_s))

    def adjust(self, views: NDArray[np.int64], change: NDArray[np.float32]) -> None:
        """Add (row, column) to the line integrals of views that came before: the open beam is known better now."""
        self._p[views] += change

    @property
    def views(self) -> NDArray[np.int64]:
        """Numbers of the views that were seen."""
        return np.flatnonzero(self.seen)

    @property
    def geometry(self) -> ConeGeometry:
        """Of :attr:`views`, as far as it is known."""
        return self._geometry_of(self.views)

    @property
    def volume(self) -> NDArray[np.float32]:
        """(z, y, x) in 1/um as it is now, a copy."""
        shape, solver = self._built.volume_shape, self._solver
        return np.zeros(shape, np.float32) if solver is None else _resized(solver.volume, shape)

    @property
    def slice(self) -> NDArray[np.float32]:
        """(y, x) in 1/um: the central slice as it is now, a copy."""
        (_, ny, nx), solver = self._built.volume_shape, self._solver
        if solver is None:
            return np.zeros((ny, nx), np.float32)
        return _resized(solver.volume[len(solver.volume) // 2][None], (1, ny, nx))[0]

    def improve(self) -> bool:
        """One update with the least-used views, spread over the turn; False when all have had their share."""
        views = self.views
        if not len(views) or (fewest := self.visits[views].min()) >= self.sweeps:
            return False
        waiting = views[self.visits[views] == fewest]
        size = min(len(waiting), VIEWS_PER_SUBSET, max(1, len(views) // LEAST_SUBSETS))
        phase = self._updates * GOLDEN % 1.0
        self._update(waiting[((phase + np.arange(size)) * len(waiting) / size).astype(int)])
        return True

    def compare(self) -> None:
        """Bring :attr:`missing` up to date when there are enough more views than at the last comparison.

        Noise and streaks fall as one over the square root of the number of views. So volumes from m of n views and from
        all n differ by sqrt(1 / m - 1 / n) where the latter still misses sqrt(1 / n). Some middle slices are compared.
        """
        views, before = len(self.views), self._before
        due = views >= (LEAST_ALIGNED if before is None else COMPARED_GROWTH * before[0])
        if self._solver is None or not due or not self.visits[self.seen].all():
            return
        nz = self._built.volume_shape[0]
        now = self.volume[max(0, (nz - COMPARED_SLICES) // 2) :][:COMPARED_SLICES]
        if before is not None:
            changed = np.mean((now - before[1]) ** 2) / max(float(np.mean(now**2)), 1e-30)
            self.missing = float(np.sqrt(changed * before[0] / (views - before[0])))
        self._before = views, now

    def align_if_due(self, *, idle: bool) -> bool:
        """Correct the geometry if enough has come since the last time; ``idle`` when nothing else is to be done."""
        seen = int(self.seen.sum())
        passed = bool(self._milestones) and seen >= self._milestones[-1]
        spare = idle and seen >= max(LEAST_ALIGNED, IDLE_GROWTH * self.aligned)
        due = (passed or spare) and self._in_time(seen) and self._tells_geometry()
        if due:
            self.align()
        return due

    def _in_time(self, seen: int) -> bool:
        """Whether a correction leaves time for the views that come meanwhile, at the pace of before."""
        scan_s = (time.perf_counter() - self._began_s) / seen * (len(self.seen) - seen)
        return self._align_s * seen <= ALIGN_SHARE * scan_s * max(self.aligned, 1)

    def align(self) -> None:
        """Correct the geometry of all views seen so far."""
        first, began_s = not self.aligned, time.perf_counter()
        self._remove_rings()
        views, times = self.views, self.times_s[self.views]
        p = self._p[views]
        found = correct_geometry(
            p,
            replace(self._built, angles_deg=self._measured_deg[views]),
            weights=self._weights[views],
            times_s=times if np.isfinite(times).all() else None,
            reference=np.stack([image for image, _ in self._references]) if self._references else None,
            reference_times_s=np.array([when for _, when in self._references]) if self._references else None,
        )
        shifts = found.view_shifts_px
        assert isinstance(found, ConeGeometry)
        assert shifts is not None
        self._found = found
        moved = float(np.sqrt(((shifts - self._shifts_px[views]) ** 2).sum(axis=1).mean()))
        self._angles_deg[views], self._shifts_px[views] = found.angles_deg, shifts
        self._scale[views] = 1.0 if found.view_scale is None else found.view_scale
        self._radius_um = specimen_radius_um(p, found)
        free = self._radius_um is not None
        turned_deg = found.angles_deg - self._measured_deg[views]
        known = self._moments.of_views(views)
        self._track = Track.through(known, self._measured_deg[views], shifts, turned_deg) if free else None
        self.aligned = len(views)
        self._milestones = [m for m in self._milestones if m > self.aligned]
        self._align_s = 0.0 if first else time.perf_counter() - began_s  # the first one loads compiled code
        self._settle(restart=moved > RESTART_PX)

    def straighten_if_due(self) -> bool:
        """Correct for beam hardening, once, as soon as enough views are aligned."""
        views = self.views
        few = len(views) < min(HARDENING_VIEWS, len(self.seen) / 2)
        if self._hardening is not None or few or not self.aligned:
            return False
        p, weights = self._p[views], self._weights[views].astype(np.float32)
        self._hardening = beam_hardening_correction(p, self.geometry, weights=weights)
        if self._hardening.k:
            self._hardening.correct(p, weights)
            self._p[views], self._weights[views] = p, np.minimum(weights, 1)
            self._settle(restart=True)
        return True

    def finish(self) -> float:
        """Give each view its share, the last of it when no more come; the residual of that pass as of :func:`sart`."""
        unknown = self.aligned == 0 or (self._track is None and self.aligned < len(self.views))
        if unknown and self._tells_geometry():
            self.align()  # nothing else says where the last images lie
        self.straighten_if_due()
        self._remove_rings()
        self._settle(restart=float((self.visits[self.seen] == 0).mean()) > UNUSED_SHARE)
        assert self._solver is not None
        while self.visits[self.seen].min() < self.sweeps - 1:
            self.improve()
        views, geometry = self.views, self.geometry
        subsets = min(len(views), max(len(views) // VIEWS_PER_SUBSET, LEAST_SUBSETS))
        squares, weights = np.sum([self._update(views[some]) for some in subset_order(geometry, subsets)], axis=0)
        self._solver.smooth(self.tv)
        return float(np.sqrt(squares / weights))

    def _update(self, views: NDArray[np.int64]) -> tuple[float, float]:
        """Weighted sum of squared residuals before the update, and the sum of the weights."""
        if self._solver is None:
            self._settle()
        assert self._solver is not None
        weights = self._weights[views].astype(np.float32)
        geometry = replace(self._geometry_of(views), volume_shape=self._solver.geometry.volume_shape)
        misfit = self._solver.update(self._p[views], geometry, weights=weights, relaxation=self.relaxation)
        self.visits[views] += 1
        self._updates += 1
        return misfit.square, float(weights.sum(dtype=np.float64))

    def _settle(self, *, restart: bool = False) -> None:
        """A solver for what the support spans and the views see, going on from the volume of before or a new start."""
        limit = field_of_view_um(self._built)
        radius_um = limit if self._radius_um is None else min(BLUR_ROOM * self._radius_um, limit)
        margin = slices_beyond(self.geometry, radius_um)
        cut_y, cut_x = columns_outside(self._built, radius_um)
        nz, ny, nx = self._built.volume_shape
        shape = (nz + 2 * margin, ny - 2 * cut_y, nx - 2 * cut_x)
        before = None if restart or self._solver is None else _resized(self._solver.volume, shape)
        solver = Solver(replace(self._built, volume_shape=shape), support=radius_um, initial=before)
        if restart:
            views, weights = self.views, self._weights[self.views].astype(np.float32)
            solver.start(self._p[views], replace(self.geometry, volume_shape=shape), weights)
            solver.smooth(self.tv)
            self.visits[views] = 1
        self.visits = np.minimum(self.visits, 1)  # those used under another geometry stand behind those never used
        self._solver = solver

    def _remove_rings(self) -> None:
        views = self.views
        more = ring_errors(self._p, self._weights, views)
        if more.any():
            self._p[views] -= more
            self._rings += more

    def _geometry_of(self, views: NDArray[np.int64]) -> ConeGeometry:
        shifts = self._shifts_px[views]
        return replace(
            self._found,
            angles_deg=self._angles_deg[views],
            view_shifts_px=shifts,
            view_scale=None if self._found.view_scale is None else self._scale[views],
            view_height_um=source_height_um(shifts[:, 0], self._found) if self.aligned else None,
        )

    def _nearest_in_time(self, views: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each of these views the seen one that was taken at about the same time."""
        known = self.views
        known = known[np.argsort(self.times_s[known])]
        return known[np.minimum(np.searchsorted(self.times_s[known], self.times_s[views]), len(known) - 1)]

    def _tells_geometry(self) -> bool:
        """Whether a correction is wanted and the views that were seen are enough for one."""
        angles = np.sort(self._measured_deg[self.seen] % 360)
        if not self.correct or len(angles) < LEAST_ALIGNED:
            return False
        return bool(np.diff(np.append(angles, angles[0] + 360)).max() <= WIDEST_GAP_DEG)


def _resized(volume: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Cut, or padded with zeros, on both sides alike."""
    out = np.zeros(shape, np.float32)
    here, there = [], []
    for old, new in zip(volume.shape, shape, strict=True):
        less = (old - new) // 2
        here.append(slice(max(less, 0), old - max(less, 0)))
        there.append(slice(max(-less, 0), new - max(-less, 0)))
    out[tuple(there)] = volume[tuple(here)]
    return out
