"""A run that goes on: from its documents, as they come, to a volume that grows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.frames.flat_field import FlatField, level_air, trust
from recon.live.arrivals import Arrivals
from recon.live.growing import GrowingVolume
from recon.runs import Reconstruction
from xrm_sims.geometry import ConeGeometry

EXAMPLE_COUNTS = 1000.0  # with the open beam the line integrals of any counts change alike
BEAM_SAMPLES = 16


class RunFollower:
    """One tomography run and its growing volume.

    Parameters
    ----------
    start : the start document of the run.
    options : for :class:`GrowingVolume`.

    Raises ValueError when the document has no geometry.
    """

    def __init__(self, start: dict[str, Any], **options: Any) -> None:
        self.uid = str(start["uid"])
        if "geometry" not in start:
            raise ValueError(f"run {self.uid}: its start document has no geometry, needs the fields of ConeGeometry")
        as_taken = ConeGeometry.from_dict(start["geometry"])
        order = np.argsort(as_taken.angles_deg, kind="stable")
        self._number = np.argsort(order)  # by angle, of the view that comes as seq_num - 1
        self._shape = as_taken.detector_shape
        self.volume = GrowingVolume(as_taken.only(order), **options)
        self.arrivals = Arrivals()
        self.arrivals("start", start)
        self._darks: list[NDArray[Any]] = []
        self._flats: list[tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]] = []
        self._beam: FlatField | None = None
        self._beam_flats = 0  # sets of flats that the beam rests on

    @property
    def views(self) -> int:
        """How many are in the volume."""
        return int(self.volume.seen.sum())

    @property
    def expected(self) -> int:
        """How many views the scan may take."""
        return len(self.volume.seen)

    def advance(self) -> bool:
        """Take in what has arrived, or else do a piece of work; False when there is nothing to do."""
        self.volume.compare()
        if self._take_in():
            return self.volume.align_if_due(idle=False) or self.volume.straighten_if_due() or self.volume.improve()
        return self.volume.straighten_if_due() or self.volume.improve() or self.volume.align_if_due(idle=True)

    def finish(self) -> Reconstruction:
        """The reconstruction, when the run has ended. ValueError when there are no flats or no projections."""
        began = time.perf_counter()
        self._take_in()
        if not self.views:
            raise ValueError(f"run {self.uid}: no projections, needs at least one frame with its event")
        self._update_beam()  # the last flats come after the last view
        residual = self.volume.finish()
        return Reconstruction(
            volume=self.volume.volume,
            geometry=self.volume.geometry,
            residuals=np.array([residual]),
            times_s=self.volume.times_s[self.volume.views],
            seconds=time.perf_counter() - began,
            uids=(self.uid,),
        )

    def _take_in(self) -> bool:
        """Frames that are new; False when there are no views among them."""
        _, darks = self.arrivals.take("dark")
        _, flats = self.arrivals.take("flat")
        if len(darks):
            self._darks.append(darks.read())
        if len(flats):
            self._flats.append((flats.read(), flats.current_na, flats.time_s))
        _, references = self.arrivals.take("reference")
        seq_nums, frames = self.arrivals.take("primary")
        if not len(references) and not len(frames):
            return False
        self._update_beam()
        for some, counts in references.blocks():
            images, _ = self._integrals(counts, references.current_na[some], references.time_s[some])
            for image, when in zip(images, references.time_s[some], strict=True):
                self.volume.add_reference(image, float(when))
        for some, counts in frames.blocks():
            p, variance = self._integrals(counts, frames.current_na[some], frames.time_s[some])
            views = self._number[seq_nums[some] - 1]
            self.volume.add(views, p, trust(variance), frames.angle_deg[some], frames.time_s[some])
        return len(frames) > 0

    def _update_beam(self) -> None:
        """Let everything rest on the flats so far."""
        if len(self._flats) == self._beam_flats:
            if self._beam is None:
                raise ValueError(f"run {self.uid}: no flats before the first view, needs images of the open beam")
            return
        counts, current_na, times_s = (np.concatenate(column) for column in zip(*self._flats, strict=True))
        bad = np.zeros(self._shape, bool)
        bad.ravel()[[n for n in self.arrivals.bad_pixels if n < bad.size]] = True
        before = self._beam
        self._beam = FlatField(
            counts,
            np.concatenate(self._darks) if self._darks else None,
            current_na=current_na if np.isfinite(current_na).all() else None,
            times_s=times_s if np.isfinite(times_s).all() else None,
            bad_pixels=bad,
        )
        self._beam_flats = len(self._flats)
        if before is not None and self.views:
            self._carry_over(before, self._beam)

    def _carry_over(self, before: FlatField, now: FlatField) -> None:
        """Change the line integrals of earlier views as the better known open beam does; its shape changes slowly."""
        views = self.volume.views
        times_s = self.volume.times_s[views]
        sampled_s = np.linspace(times_s.min(), times_s.max(), BEAM_SAMPLES)
        counts, current_na = np.full((BEAM_SAMPLES, *self._shape), EXAMPLE_COUNTS), np.ones(BEAM_SAMPLES)
        new, old = (_integrals(beam, counts, current_na, sampled_s)[0] for beam in (now, before))
        nearest = np.abs(times_s[:, None] - sampled_s).argmin(axis=1)
        for n, change in enumerate(new - old):
            self.volume.adjust(views[nearest == n], change)

    def _integrals(
        self, counts: NDArray[Any], current_na: NDArray[np.float64], times_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert self._beam is not None
        p, variance = _integrals(self._beam, counts, current_na, times_s)
        level_air(p, variance)
        return p, variance


def _integrals(
    beam: FlatField, counts: NDArray[Any], current_na: NDArray[np.float64], times_s: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    known = np.isfinite(times_s).all()
    return beam.integrals(counts, None if beam.reference_na is None else current_na, times_s if known else None)
