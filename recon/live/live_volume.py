"""A volume that grows with its scan: each view is used as soon as it has arrived, the least used views first."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.beam_hardening import BeamHardening
from recon.algorithms.sart import GOLDEN, LEAST_SUBSETS, NOISE_UNITS, RELAXATION, subset_order
from recon.algorithms.solver import Solver
from recon.alignment.geometry_correction import source_height_um
from recon.alignment.moments import specimen_radius_um
from recon.frames.flat_field import clean, typical_weight
from recon.frames.prepare import Prepared, correct_beam_hardening
from recon.kernels.support import resized, solver_geometry, support_radius_um
from recon.live.shift_prediction import ShiftPrediction
from recon.runs import correct_run
from xrm_sims.geometry import ConeGeometry, Geometry

VIEWS_PER_SUBSET = 10
SWEEPS = 2  # the first, view by view, has no reliable geometry yet
LEAST_ALIGNED = 24  # views; the geometry cannot be found from fewer
ALIGN_SHARE = 0.25  # largest share of the remaining scan time that a correction may take from the views
IDLE_GROWTH = 1.25  # with time to spare the geometry is corrected again at this ratio of new to aligned views
RESTART_PX = 1.0  # a correction that moves the views by more (rms) makes the previous volume a bad start
HARDENING_VIEWS = 120  # enough to measure the beam hardening; or half of the scan, if that is less
COMPARED_SLICES, COMPARED_GROWTH = 8, 1.5
UNUSED_SHARE = 0.5  # with a larger share of unused views the previous volume is a bad start
WIDEST_GAP_DEG = 180.0  # a wider gap leaves motion and position of the specimen indistinguishable


class LiveVolume:
    """A volume that can be read at any time while line integrals are added.

    Parameters
    ----------
    geometry : as built, with one angle for each view that the scan may take, ascending; views are numbered like these.
    uid : of the run.
    correct : find the shifts of the views from the data (:func:`recon.correct_geometry`): each time their number has
        doubled, up to half of the scan, unless that would take too long, and whenever there is time to spare. The
        shifts of new views are predicted from their moments until then.
    beam_hardening : correct the line integrals (:func:`recon.beam_hardening_correction`) after a geometry correction.
    sweeps : how often each view is used under one geometry, the last time when all views are there.
    tv, relaxation : as for :func:`recon.sart`.

    Attributes
    ----------
    seen : (n,) which views have arrived and are used.
    visits : (n,) how often each view was used under the present geometry.
    aligned : number of views from which the present geometry was found.
    missing : estimated change of the volume by further views, rms relative to the rms of the volume; None before there
        were enough views to compare.
    """

    def __init__(
        self,
        geometry: ConeGeometry,
        *,
        uid: str = "",
        correct: bool = True,
        beam_hardening: bool = True,
        sweeps: int = SWEEPS,
        tv: float = NOISE_UNITS,
        relaxation: float = RELAXATION,
    ) -> None:
        n = geometry.num_views
        self.uid, self.correct, self.sweeps, self.tv, self.relaxation = uid, correct, sweeps, tv, relaxation
        self.seen, self.visits, self.aligned = np.zeros(n, bool), np.zeros(n, int), 0
        self.times_s = np.full(n, np.nan)
        self.missing: float | None = None
        self._compared: tuple[int, NDArray[np.float32]] | None = None  # number of views, slices
        self._built = self._found = geometry
        self._measured_deg, self._angles_deg = geometry.angles_deg.copy(), geometry.angles_deg.copy()
        self._shifts_px, self._scale = np.zeros((n, 2)), np.ones(n)
        shape = (n, *geometry.detector_shape)
        self._p, self._weights = np.zeros(shape, np.float32), np.zeros(shape, np.float16)  # memory is taken when filled
        self._unit = 0.0  # inverse variance of a ray of weight 1
        self._rings = np.zeros(geometry.detector_shape, np.float32)
        self._hardening = None if beam_hardening else BeamHardening(0.0, 0.0)
        self._references: list[tuple[NDArray[np.float32], NDArray[np.float64]]] = []
        self._prediction: ShiftPrediction | None = None
        self._began_s = self._align_s = 0.0
        self._milestones = [n / 2**k for k in range(1, 16) if n / 2**k >= LEAST_ALIGNED]
        self._updates = 0
        self._radius_um = support_radius_um(geometry, None)
        self._solver: Solver | None = None

    def add(
        self,
        views: NDArray[np.int64],
        p: NDArray[np.float32],
        precision: NDArray[np.float32],
        angles_deg: NDArray[np.float64],
        times_s: NDArray[np.float64],
    ) -> None:
        """Add views by number: line integrals and their inverse variances (n, row, column); replaces earlier ones."""
        self._began_s = self._began_s or time.perf_counter()
        self._unit = self._unit or typical_weight(precision)
        corrected, weights = p - self._rings, precision / np.float32(self._unit)
        if self._hardening is not None:
            self._hardening.correct(corrected, weights)
        self._p[views], self._weights[views] = corrected, np.minimum(weights, 1)
        self._measured_deg[views] = self._angles_deg[views] = angles_deg
        self.times_s[views] = times_s
        if self._prediction is not None:
            self._shifts_px[views] = self._prediction.shifts_px(corrected, angles_deg)
            self._angles_deg[views] += self._prediction.turned_deg(self._shifts_px[views])
            self._scale[views] = self._scale[self._nearest_in_time(views)]
        self.seen[views], self.visits[views] = True, 0

    def add_references(self, p: NDArray[np.float32], times_s: NDArray[np.float64]) -> None:
        """Add line integrals (n, row, column) of images at the angle of all references."""
        self._references.append((p, times_s))

    def adjust(self, views: NDArray[np.int64], change: NDArray[np.float32]) -> None:
        """Add (row, column) to the line integrals of earlier views, because the open beam is known better now."""
        self._p[views] += change

    @property
    def views(self) -> NDArray[np.int64]:
        """Numbers of the views that are used."""
        return np.flatnonzero(self.seen)

    @property
    def geometry(self) -> ConeGeometry:
        """The geometry of :attr:`views`, as far as it is known."""
        return self._geometry_of(self.views)

    @property
    def volume(self) -> NDArray[np.float32]:
        """A copy of the present volume (z, y, x) in 1/um."""
        shape, solver = self._built.volume_shape, self._solver
        return np.zeros(shape, np.float32) if solver is None else np.array(resized(solver.volume, shape))

    @property
    def slice(self) -> NDArray[np.float32]:
        """A copy of the present central slice (y, x) in 1/um."""
        (_, ny, nx), solver = self._built.volume_shape, self._solver
        if solver is None:
            return np.zeros((ny, nx), np.float32)
        return np.array(resized(solver.volume[len(solver.volume) // 2][None], (1, ny, nx))[0])

    def improve(self) -> bool:
        """Update the volume with the least used views, spread over the turn; False when all were used enough."""
        views = self.views
        if not len(views) or (fewest := self.visits[views].min()) >= self.sweeps:
            return False
        waiting = views[self.visits[views] == fewest]
        size = min(len(waiting), VIEWS_PER_SUBSET, max(1, len(views) // LEAST_SUBSETS))
        phase = self._updates * GOLDEN % 1.0
        self._update(waiting[((phase + np.arange(size)) * len(waiting) / size).astype(int)])
        return True

    def estimate_missing(self) -> None:
        """Update :attr:`missing` when there are enough more views than at the last comparison.

        Noise and streaks fall as one over the square root of the number of views. Volumes from m of n views and from
        all n therefore differ by sqrt(1 / m - 1 / n) where the latter still misses sqrt(1 / n). Compares middle slices.
        """
        views, before = len(self.views), self._compared
        due = views >= (LEAST_ALIGNED if before is None else COMPARED_GROWTH * before[0])
        if self._solver is None or not due or not self.visits[self.seen].all():
            return
        nz = self._built.volume_shape[0]
        now = self.volume[max(0, (nz - COMPARED_SLICES) // 2) :][:COMPARED_SLICES]
        if before is not None:
            changed = np.mean((now - before[1]) ** 2) / max(float(np.mean(now**2)), 1e-30)
            self.missing = float(np.sqrt(changed * before[0] / (views - before[0])))
        self._compared = views, now

    def align_if_due(self, *, idle: bool) -> bool:
        """Correct the geometry if enough views are new; ``idle`` when there is nothing else to do."""
        seen = int(self.seen.sum())
        passed = bool(self._milestones) and seen >= self._milestones[-1]
        spare = idle and seen >= max(LEAST_ALIGNED, IDLE_GROWTH * self.aligned)
        if due := (passed or spare) and self._in_time(seen) and self._can_align():
            self._settle(restart=self._refine(align=True))
        return due

    def correct_hardening_if_due(self) -> bool:
        """Correct beam hardening once, as soon as enough views are aligned: the volume may start anew."""
        due = self._hardening_due()
        if due and self._refine(align=False):
            self._settle(restart=True)
        return due

    def _hardening_due(self) -> bool:
        enough = len(self.views) >= min(HARDENING_VIEWS, len(self.seen) / 2)
        return self._hardening is None and self.aligned > 0 and enough

    def _in_time(self, seen: int) -> bool:
        """Whether a correction leaves time for the views that arrive meanwhile, at the pace so far."""
        scan_s = (time.perf_counter() - self._began_s) / seen * (len(self.seen) - seen)
        return self._align_s * seen <= ALIGN_SHARE * scan_s * max(self.aligned, 1)

    def _refine(self, *, align: bool) -> bool:
        """Clean the line integrals, correct the geometry (``align``), and beam hardening once enough views are aligned.

        Returns whether the data or the geometry changed so much that the volume must start anew.
        """
        views, began_s, restart = self.views, time.perf_counter(), False
        p, weights = self._p[views], self._weights[views]
        self._rings += clean(p, weights, [np.arange(len(views))], variance=1 / self._unit)
        images, times_s = zip(*self._references, strict=True) if self._references else ((), ())
        prepared = Prepared(
            geometry=replace(self._built, angles_deg=self._measured_deg[views]),
            p=p,
            weights=weights,
            times_s=self.times_s[views],
            reference=np.concatenate(images) if images else None,
            reference_times_s=np.concatenate(times_s) if times_s else np.zeros(0),
            uids=(self.uid,),
        )
        if align:
            restart = self._adopt(prepared, correct_run(prepared)) > RESTART_PX
            self._align_s = time.perf_counter() - began_s if self.aligned else 0.0  # the first compiles code
            self.aligned = len(views)
            self._milestones = [m for m in self._milestones if m > self.aligned]
        if self._hardening_due():
            self._hardening = correct_beam_hardening(replace(prepared, geometry=self.geometry))
            restart |= self._hardening.k != 0
        self._p[views], self._weights[views] = p, weights
        return restart

    def _adopt(self, prepared: Prepared, found: Geometry) -> float:
        """Take over a corrected geometry of all views; returns by how many pixels it moved them (rms)."""
        shifts, views = found.view_shifts_px, self.views
        assert isinstance(found, ConeGeometry)
        assert shifts is not None
        moved = float(np.sqrt(((shifts - self._shifts_px[views]) ** 2).sum(axis=1).mean()))
        self._found = found
        self._angles_deg[views], self._shifts_px[views] = found.angles_deg, shifts
        self._scale[views] = 1.0 if found.view_scale is None else found.view_scale
        specimen_um = specimen_radius_um(prepared.p, found)
        self._radius_um, self._prediction = support_radius_um(found, specimen_um), None
        if specimen_um is not None:
            measured = self._measured_deg[views]
            turned_deg = found.angles_deg - measured
            self._prediction = ShiftPrediction.from_aligned(prepared.p, measured, shifts, turned_deg)
        return moved

    def finish(self, kept: NDArray[np.int64]) -> float:
        """Use each of the views ``kept`` its number of times, when no more come, and leave out the others.

        Returns the residual of the last pass, as :func:`recon.sart` does.
        """
        left_out = self.seen.sum() > len(kept)
        self.seen[:] = False
        self.seen[kept] = True
        unaligned = self.aligned == 0 or (self._prediction is None and self.aligned < len(kept))
        restart = self._refine(align=unaligned and self._can_align())
        self._settle(restart=restart or left_out or float((self.visits[self.seen] == 0).mean()) > UNUSED_SHARE)
        assert self._solver is not None
        while self.visits[self.seen].min() < self.sweeps - 1:
            self.improve()
        subsets = min(len(kept), max(len(kept) // VIEWS_PER_SUBSET, LEAST_SUBSETS))
        squares, weights = np.sum([self._update(kept[some]) for some in subset_order(self.geometry, subsets)], axis=0)
        self._solver.smooth(self.tv)
        return float(np.sqrt(squares / weights))

    def _update(self, views: NDArray[np.int64]) -> tuple[float, float]:
        """Update the volume; returns the weighted sum of squared residuals before that, and the sum of the weights."""
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
        """Make a solver for the present support and geometry, which goes on from the volume so far or starts anew."""
        geometry = solver_geometry(self.geometry, self._radius_um)
        before = None if restart or self._solver is None else resized(self._solver.volume, geometry.volume_shape)
        solver = Solver(geometry, support=self._radius_um, initial=before)
        if restart:
            solver.start(self._p[self.views], geometry, self._weights[self.views].astype(np.float32))
            solver.smooth(self.tv)
            self.visits[self.views] = 1
        self.visits = np.minimum(self.visits, 1)  # views used under another geometry come after views never used
        self._solver = solver

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
        """For each of these views, return the earlier view that was taken nearest in time."""
        known = self.views
        known = known[np.argsort(self.times_s[known])]
        return known[np.minimum(np.searchsorted(self.times_s[known], self.times_s[views]), len(known) - 1)]

    def _can_align(self) -> bool:
        """Whether a correction was chosen and the views so far are enough for one."""
        angles = np.sort(self._measured_deg[self.seen] % 360)
        if not self.correct or len(angles) < LEAST_ALIGNED:
            return False
        return bool(np.diff(np.append(angles, angles[0] + 360)).max() <= WIDEST_GAP_DEG)
