"""Detectors that write HDF5 files: one file and one stream resource per stream of a run.

A plan calls ``prepare((stream, index))`` before each frame. After a pause the RunEngine rewinds and prepares the same
slot again; a frame that is on disk is not taken twice. So frame ``index`` of a file always belongs to ``seq_num``
``index + 1``, and the specimen gets its dose once.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from event_model import ComposeStreamResourceBundle, StreamRange, compose_stream_resource
from numpy.typing import NDArray
from ophyd import Component, Kind, Signal
from ophyd.status import Status

from devices.drivers import Frame, FrameFile, HeldCounts
from devices.quantity import DriverDevice, Held, done
from xrm_sims.data.frames import MIMETYPE, FrameWriter

DATASET = "/entry/data/data"
DTYPE = np.dtype(np.uint32)


@dataclass(frozen=True)
class Slot:
    """Place of a frame: ``index`` counts from 0 within ``stream``."""

    stream: str = "primary"
    index: int = 0


@dataclass
class _Stream:
    writer: FrameFile
    bundle: ComposeStreamResourceBundle
    count: int = 0
    unsaved: dict[int, Any] = field(default_factory=dict)


class FrameStore:
    """The frame files of one detector from ``open`` to ``close``.

    A stream's file is created when its first frame is prepared, so that its document comes before the first frame.
    ``new_file`` creates files: :class:`FrameWriter`, or the method of a driver that writes frames itself.
    """

    def __init__(self, folder: Path, key: str, new_file: Callable[..., FrameFile] = FrameWriter) -> None:
        self.folder = folder
        self.key = key
        self._new_file = new_file
        self._streams: dict[str, _Stream] | None = None
        self._stem = ""

    def open(self) -> None:
        self._streams = {}
        self._stem = f"{time.strftime('%Y-%m-%d')}/{uuid.uuid4().hex[:12]}-{self.key}"

    def close(self) -> None:
        for stream in (self._streams or {}).values():
            stream.writer.close()
        self._streams = None

    @property
    def is_open(self) -> bool:
        return self._streams is not None

    def count(self, stream: str) -> int:
        """Return the number of frames on disk."""
        known = (self._streams or {}).get(stream)
        return known.count if known else 0

    def ready(self, name: str, frame_shape: Callable[[], tuple[int, ...]]) -> _Stream:
        """Return the stream; create its file if it is new."""
        if self._streams is None:
            raise RuntimeError(f"{self.key}: stage the detector before it takes frames")
        if name not in self._streams:
            self._streams[name] = self._new_stream(name, frame_shape())
        return self._streams[name]

    def append(self, name: str, frame: NDArray[Any] | HeldCounts) -> None:
        """Write a frame to disk and compose its stream datum."""
        stream = self.ready(name, lambda: frame.shape)
        index = stream.writer.append(frame)
        stream.count = index + 1
        stream.unsaved = {i: doc for i, doc in stream.unsaved.items() if not doc["descriptor"]}
        span = StreamRange(start=index, stop=index + 1)
        stream.unsaved[index] = stream.bundle.compose_stream_datum(span, validate=False)  # saves time

    def documents(self, slot: Slot) -> Iterator[tuple[str, Any]]:
        """Yield the documents of a frame that were not saved yet.

        The RunEngine sets ``run_start`` and ``descriptor`` when it saves them; those that a rewind dropped lack them.
        """
        stream = (self._streams or {}).get(slot.stream)
        if stream is None:
            return
        if "run_start" not in stream.bundle.stream_resource_doc:
            yield "stream_resource", stream.bundle.stream_resource_doc
        datum = stream.unsaved.get(slot.index)
        if datum is not None and not datum["descriptor"]:
            yield "stream_datum", datum

    def _new_stream(self, name: str, shape: tuple[int, ...]) -> _Stream:
        path = self.folder / f"{self._stem}-{name}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = self._new_file(path, DATASET, shape, DTYPE, {"units": "counts"})
        bundle = compose_stream_resource(
            mimetype=MIMETYPE,
            uri=writer.uri,
            data_key=self.key,
            parameters=writer.parameters,
        )
        return _Stream(writer, bundle)


class FrameDevice(DriverDevice, ABC):
    """A device that takes frames. Subclasses define the document key and how a frame is acquired."""

    frame_key = ""
    time_s = Component(Signal, value=0.0, kind=Kind.omitted)
    current_na = Component(Signal, value=0.0, kind=Kind.omitted)

    def __init__(self, prefix: str = "", *, name: str, parent: Any, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, parent=parent, **kwargs)
        new_file = getattr(self.channel.driver, "frame_writer", FrameWriter)
        self.store = FrameStore(parent.frames_dir, self.frame_key, new_file)
        self._prepared: Slot | None = None
        self._slot = Slot()

    @abstractmethod
    def frame_shape(self) -> tuple[int, ...]:
        """Return the shape of a frame with the present settings."""

    @abstractmethod
    def acquire(self) -> Frame:
        """Take one frame; called in the worker thread."""

    def stage(self) -> list[object]:
        staged = super().stage()
        self.store.open()
        self._prepared = None
        return staged

    def unstage(self) -> list[object]:
        self.store.close()
        return super().unstage()

    def prepare(self, next_frame: tuple[str, int]) -> Status:
        """Set the next frame: (stream, index). ValueError when earlier frames are missing."""
        slot = Slot(*next_frame)
        if slot.index > self.store.count(slot.stream):
            raise ValueError(
                f"{self.name}: frame {slot.index} of {slot.stream!r} cannot follow "
                f"{self.store.count(slot.stream)} frames"
            )
        if self.store.is_open:
            self.store.ready(slot.stream, self.frame_shape)
        self._prepared = self._slot = slot
        return done(self)

    def spoilt(self) -> bool:
        """Return True when the plan is suspended because of bad conditions and will take this frame again."""
        return self.conditions.tripped()

    def take(self) -> Status:
        """Take the prepared frame, or the next of ``primary`` if none was prepared. Nothing if it is on disk."""
        if not self.store.is_open:
            raise RuntimeError(f"{self.name}: stage the detector before it takes frames")
        if self._prepared is None:
            self._slot = Slot("primary", self.store.count("primary"))
        elif self._slot.index < self.store.count(self._slot.stream):
            return done(self)
        return self.channel.submit(self, self._take)

    def _take(self) -> None:
        """Take a frame; its status finishes only when the frame is on disk."""
        frame = self.acquire()
        if frame.counts.shape != self.frame_shape():
            raise RuntimeError(f"{self.name}: needs a frame of shape {self.frame_shape()}, got {frame.counts.shape}")
        if self.spoilt():
            raise Held
        self.time_s.put(0.5 * (frame.started_s + frame.stopped_s))
        self.current_na.put(frame.current_na)
        self.store.append(self._slot.stream, frame.counts)

    def frame_documents(self) -> Iterator[tuple[str, Any]]:
        """Yield the unsaved documents of the file and of the last prepared frame."""
        self._prepared = None
        yield from self.store.documents(self._slot)

    def describe_frames(self) -> dict[str, Any]:
        return {
            self.frame_key: {
                "source": f"driver:{self.name}",
                "dtype": "array",
                "dtype_numpy": DTYPE.str,
                "shape": list(self.frame_shape()),
                "external": "STREAM:",
                "units": "counts",
            }
        }


class FrameDetector(FrameDevice):
    """A frame device that is triggered and read, one event per frame.

    The event holds the middle of the exposure on the instrument's clock, and the beam current.
    """

    time_key = "instrument_time_s"
    current_key = ""

    def __init__(self, prefix: str = "", *, name: str, parent: Any, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, parent=parent, **kwargs)
        for signal, key in ((self.time_s, self.time_key), (self.current_na, self.current_key)):
            signal.name = key

    def trigger(self) -> Status:
        return self.take()

    def collect_asset_docs(self) -> Iterator[tuple[str, Any]]:
        yield from self.frame_documents()

    def read(self) -> dict[str, Any]:
        return super().read() | self.time_s.read() | self.current_na.read()

    def describe(self) -> dict[str, Any]:
        described = self.describe_frames() | super().describe()
        for signal, unit in ((self.time_s, "s"), (self.current_na, "nA")):
            described |= {signal.name: signal.describe()[signal.name] | {"units": unit}}
        return described
