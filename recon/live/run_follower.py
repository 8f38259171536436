"""From the documents of a run that goes on to a volume that grows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recon.frames.documents import FrameSet, TomographyScan
from recon.frames.flat_field import FlatField, level_air
from recon.frames.prepare import block_integrals, flat_field, view_currents
from recon.frames.view_selection import ViewSelection
from recon.live.arrivals import Arrivals
from recon.live.live_volume import LiveVolume
from recon.runs import Reconstruction
from xrm_sims.geometry import ConeGeometry

EXAMPLE_COUNTS = 1000.0  # a new open beam changes the line integrals of any counts alike
BEAM_SAMPLES = 16


class RunFollower:
    """One tomography run and its live volume.

    Parameters
    ----------
    start : the start document of the run.
    options : for :class:`LiveVolume`.
    Raises ValueError when the document has no geometry.
    """

    def __init__(self, start: dict[str, Any], **options: Any) -> None:
        self.uid = str(start["uid"])
        if "geometry" not in start:
            raise ValueError(f"run {self.uid}: its start document has no geometry, needs the fields of ConeGeometry")
        as_taken = ConeGeometry.from_dict(start["geometry"])
        order = np.argsort(as_taken.angles_deg, kind="stable")
        self._number = np.argsort(order)  # number by angle of the view with seq_num - 1
        self._geometry = as_taken.only(order)
        self.volume = LiveVolume(self._geometry, uid=self.uid, **options)
        self._selection = ViewSelection(self._geometry.angles_deg)
        self.arrivals = Arrivals()
        self.arrivals("start", start)
        self._flats, self._darks, self._new_flats = FrameSet(), FrameSet(), False
        self._field: FlatField | None = None

    @property
    def views(self) -> int:
        """Number of views in the volume."""
        return int(self.volume.seen.sum())

    @property
    def expected(self) -> int:
        """Largest number of views that the scan may take."""
        return len(self.volume.seen)

    def advance(self) -> bool:
        """Read the frames that have arrived, or else improve the volume; False when there is nothing to do."""
        volume = self.volume
        volume.estimate_missing()
        if self._read_new():
            return volume.align_if_due(idle=False) or volume.correct_hardening_if_due() or volume.improve()
        return volume.correct_hardening_if_due() or volume.improve() or volume.align_if_due(idle=True)

    def finish(self) -> Reconstruction:
        """Return the reconstruction when the run has ended. ValueError without flats or usable projections."""
        began = time.perf_counter()
        self._read_new()
        if not self.views:
            raise ValueError(f"run {self.uid}: no projections, needs at least one frame with its event")
        self._update_field()  # the last flats come after the last view
        residual = self.volume.finish(self._selection.select(self.uid, self.volume.views))
        return Reconstruction(
            volume=self.volume.volume,
            geometry=self.volume.geometry,
            residuals=np.array([residual]),
            times_s=self.volume.times_s[self.volume.views],
            seconds=time.perf_counter() - began,
            uids=(self.uid,),
        )

    def _read_new(self) -> bool:
        """Read the frames that are new; False when there are no views among them."""
        streams = ("dark", "flat", "reference", "primary")
        (_, darks), (_, flats), (_, references), (seq_nums, frames) = (self.arrivals.take(name) for name in streams)
        self._darks, self._flats = self._darks + darks, self._flats + flats
        self._new_flats |= len(flats) > 0
        if not len(references) and not len(frames):
            return False
        field = self._update_field()
        if len(references):
            images = field.integrals(references.read(), view_currents(self.uid, field, references))
            level_air(*images)
            self.volume.add_references(images[0], references.time_s)
        views = self._number[seq_nums - 1]
        for block, p, precision in block_integrals(self.uid, field, frames, views, self._selection):
            level_air(p, precision)
            self.volume.add(views[block], p, precision, frames.angle_deg[block], frames.time_s[block])
        return len(frames) > 0

    def _update_field(self) -> FlatField:
        """Return the flat field of all flats so far; the earlier views change with it when there are new ones."""
        before = self._field
        if self._new_flats:
            start, end = self.arrivals.start_doc, self.arrivals.counter_end
            bad = self.arrivals.bad_pixels(self._geometry.detector_shape)
            scan = TomographyScan(start, self._geometry, self._flats, self._darks, bad, end)
            self._field, self._new_flats = flat_field(scan), False
            if before is not None and self.views:
                self._correct_earlier(before, self._field)
        if self._field is None:
            raise ValueError(f"run {self.uid}: no flats before the first view, needs images of the open beam")
        return self._field

    def _correct_earlier(self, before: FlatField, now: FlatField) -> None:
        """Change the line integrals of earlier views as the new open beam does, whose shape changes slowly in time."""
        views = self.volume.views
        times_s = self.volume.times_s[views]
        sampled_s = np.linspace(times_s.min(), times_s.max(), BEAM_SAMPLES)
        known = np.isfinite(times_s).all()
        counts = np.full((BEAM_SAMPLES, *before.shape), EXAMPLE_COUNTS)
        new, old = (
            field.integrals(
                counts, None if field.reference_na is None else np.ones(BEAM_SAMPLES), sampled_s if known else None
            )[0]
            for field in (now, before)
        )
        nearest = np.abs(times_s[:, None] - sampled_s).argmin(axis=1)
        for n, change in enumerate(new - old):
            self.volume.adjust(views[nearest == n], change)
