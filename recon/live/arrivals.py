"""New frames of a run that goes on, each available once its event and its place in a file are known."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.frames.documents import FrameSet, TomographyConsumer, frame_set


class Arrivals(TomographyConsumer):
    """A consumer that also returns the frames that are new since the last call.

    A view that is repeated after pause and resume is new again: its last event counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fresh: dict[str, set[int]] = defaultdict(set)

    def event(self, doc: Any) -> Any:
        self._fresh[self.stream_of(doc)].add(int(doc["seq_num"]))
        return super().event(doc)

    def stream_datum(self, doc: Any) -> None:
        super().stream_datum(doc)
        self._fresh[self.stream_of(doc)].update(range(doc["seq_nums"]["start"], doc["seq_nums"]["stop"]))

    def take(self, stream: str) -> tuple[NDArray[np.int64], FrameSet]:
        """Return seq_nums and frames of a stream that have become complete since the last call."""
        events, places = self._by_number(stream) if self._fresh[stream] else ({}, {})
        ready = sorted(n for n in self._fresh[stream] if n in events and n in places)
        self._fresh[stream].difference_update(ready)
        return np.array(ready, int), frame_set(events, places, ready)
