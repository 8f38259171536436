"""Frames of a run that goes on: each is handed out once, as soon as its event and its place in a file are known."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.frames.documents import FrameSet, TomographyConsumer, frame_set


class Arrivals(TomographyConsumer):
    """A consumer that also tells what is new since it was last asked.

    A view that is told again after pause and resume is handed out again: its last event counts.
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
        """(seq_nums, frames) of a stream that have become complete since the last call."""
        events, places = self._by_number(stream) if self._fresh[stream] else ({}, {})
        ready = sorted(n for n in self._fresh[stream] if n in events and n in places)
        self._fresh[stream].difference_update(ready)
        return np.array(ready, int), frame_set(events, places, ready)
