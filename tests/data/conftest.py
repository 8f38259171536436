"""A minimal detector that makes frames, a real Ophyd device with an external stream key, and a plan for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from event_model import StreamRange, compose_stream_resource
from ophyd import Component, Device, Signal
from ophyd.status import Status

from xrm_sims.data.catalog import disconnect
from xrm_sims.data.frames import MIMETYPE, FrameWriter
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import Recorder

SHAPE = (64, 64)
KEY = "camera_image"
DATASET = "/entry/data/data"


def frame_of(index: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return (np.arange(np.prod(shape), dtype=np.uint32).reshape(shape) + index) % 4096


class Camera(Device):
    current_na = Component(Signal, value=400.0)

    def __init__(self, folder: Path, key: str = KEY, shape: tuple[int, ...] = SHAPE, *, name: str = "camera") -> None:
        super().__init__("", name=name)
        self.folder, self.key, self.shape = folder, key, shape

    def stage(self) -> list[object]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.writer = FrameWriter(self.folder / f"frames {uuid.uuid4().hex[:8]}.h5", DATASET, self.shape, np.uint32)
        self.bundle = compose_stream_resource(
            mimetype=MIMETYPE, uri=self.writer.uri, data_key=self.key, parameters=self.writer.parameters
        )
        self.said = False
        return super().stage()

    def unstage(self) -> list[object]:
        self.writer.close()
        return super().unstage()

    def trigger(self) -> Status:
        self.index = self.writer.append(frame_of(self.writer.count, self.shape))
        status = Status(self)
        status.set_finished()
        return status

    def describe(self) -> dict[str, Any]:
        key = {
            "source": "test",
            "dtype": "array",
            "dtype_numpy": "<u4",
            "shape": list(self.shape),
            "external": "STREAM:",
        }
        return super().describe() | {self.key: key}

    def collect_asset_docs(self) -> Any:
        if not self.said:
            self.said = True
            yield "stream_resource", self.bundle.stream_resource_doc
        yield "stream_datum", self.bundle.compose_stream_datum(StreamRange(start=self.index, stop=self.index + 1))


def scan(
    camera: Camera,
    angle: Signal,
    num: int,
    md: dict[str, Any] | None = None,
    at: Callable[[int], object] | None = None,
) -> Any:
    """``num`` events of camera and angle; ``at(i)`` is called before event i."""

    @bpp.stage_decorator([camera])
    @bpp.run_decorator(md={"plan_name": "scan", "num_points": num, **(md or {})})
    def inner() -> Any:
        for i in range(num):
            if at is not None:
                at(i)
            yield from bps.checkpoint()
            yield from bps.mv(angle, 0.3 * i)
            yield from bps.trigger_and_read([camera, angle])

    return (yield from inner())


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data root whose path has a blank in it."""
    root = tmp_path / "data root"
    yield root
    disconnect(root)


@contextmanager
def recording(data: Path) -> Iterator[Callable[..., Any]]:
    """Runs the camera's scan with everything a session has: RunEngine, recorder, frames; gives its uid."""
    RE = RunEngine(call_returns_result=False)
    recorder = Recorder(data)
    RE.subscribe(recorder)
    plain, angle = Camera(Layout(data).frames), Signal(name="rotation_angle_deg", value=0.0)

    def run(
        num: int = 5,
        md: dict[str, Any] | None = None,
        at: Callable[[int], object] | None = None,
        camera: Camera | None = None,
    ) -> str:
        return RE(scan(camera or plain, angle, num, md, at))[0]

    run.recorder = recorder
    yield run
    recorder.close()


@pytest.fixture
def record(data: Path) -> Iterator[Callable[..., Any]]:
    with recording(data) as run:
        yield run
