"""Frames of a run that goes on: each is handed out once, as soon as its event and its place in a file are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.frames.documents import STREAMS, FrameSet, TomographyConsumer


class Arrivals(TomographyConsumer):
    """A consumer that also tells what is new since it was last asked.

    A view that is told again after pause and resume is handed out again: its last event counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, dict[int, tuple[dict[str, Any], int]]] = {name: {} for name in STREAMS}
        self._fresh: dict[str, set[int]] = {name: set() for name in STREAMS}

    @property
    def bad_pixels(self) -> list[int]:
        """Flat indices into the detector, from the configuration of the newest descriptor."""
        return self._bad_pixels

    def event(self, doc: Any) -> Any:
        stream = self._streams.get(doc["descriptor"])
        if stream in self._fresh:
            self._fresh[stream].add(int(doc["seq_num"]))
        return super().event(doc)

    def stream_datum(self, doc: Any) -> None:
        super().stream_datum(doc)
        stream, resource = self._streams.get(doc["descriptor"]), self._resources.get(doc["stream_resource"])
        if stream not in self._fresh or resource is None:
            return
        first = doc["indices"]["start"]
        for n in range(doc["indices"]["stop"] - first):
            self._places[stream][doc["seq_nums"]["start"] + n] = (resource, first + n)
            self._fresh[stream].add(doc["seq_nums"]["start"] + n)

    def take(self, stream: str) -> tuple[NDArray[np.int64], FrameSet]:
        """(seq_nums, frames) of a stream that have become complete since the last call."""
        events, places = self._events[stream], self._places[stream]
        ready = sorted(n for n in self._fresh[stream] if n in events and n in places)
        self._fresh[stream].difference_update(ready)

        def column(key: str) -> NDArray[np.float64]:
            return np.array([float(events[n].get(key, np.nan)) for n in ready])

        frames = FrameSet(
            [places[n] for n in ready],
            column("rotation_angle_deg"),
            column("beam_current_na"),
            column("instrument_time_s"),
        )
        return np.array(ready, int), frames
