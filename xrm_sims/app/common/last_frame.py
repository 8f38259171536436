"""The last image of a run, from its documents: for whoever looks at a run that may still go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrm_sims.app.common.rasters import labels_of
from xrm_sims.correlate.figures.drawing import as_png, image_in, new_figure, scale_bar
from xrm_sims.data.frames import read_block

Document = tuple[str, Mapping[str, Any]]
SCREEN = (0.005, 0.995)  # quantiles of an image that are drawn black and white


@dataclass(frozen=True)
class Glance:
    """One frame: images (row, column) by label, the width that they show (None where rows and columns are all that is
    known), a title."""

    uid: str
    images: dict[str, NDArray[Any]]
    title: str
    fov_um: float | None = None


class LastFrame:
    """A callback ``(name, doc)`` that remembers where the newest frame of a run lies, or the newest of one stream
    ``only``; nothing is read before :meth:`look`."""

    def __init__(self, documents: Iterable[Document] = (), only: str | None = None) -> None:
        self._only = only
        self._begin({})
        for name, doc in documents:
            self(name, doc)

    def _begin(self, start: Mapping[str, Any]) -> None:
        self.start = start
        self.where: tuple[str, int] | None = None
        self._stream = ""
        self._streams: dict[str, str] = {}
        self._resources: dict[str, Mapping[str, Any]] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._begin(doc)
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "stream_resource":
            self._resources[doc["uid"]] = doc
        elif name == "stream_datum" and self._only in (None, self._streams.get(doc["descriptor"])):
            self.where = doc["stream_resource"], doc["indices"]["stop"] - 1
            self._stream = self._streams.get(doc["descriptor"], "")

    def look(self) -> Glance | None:
        """The frame, read from its file; None for a run that has none. ValueError when the file cannot be read."""
        if self.where is None:
            return None
        resource = self._resources[self.where[0]]
        frame = read_block(resource, self.where[1], self.where[1] + 1)[0]
        images = (
            {resource["data_key"]: frame} if frame.ndim == 2 else dict(zip(self._labels(frame), frame, strict=True))
        )
        stream = "" if self._stream == "primary" else f"{self._stream} "
        title = f"{self.start.get('scan_type', 'run')} {self.start['uid'][:8]}: {stream}frame {self.where[1] + 1}"
        return Glance(self.start["uid"], images, title, self.start.get("fov_um"))

    def _labels(self, frame: NDArray[Any]) -> list[str]:
        named = labels_of(self.start) if "channels" in self.start else self.start.get("elements", [])
        return list(named) if len(named) == len(frame) else [f"image {number}" for number in range(len(frame))]


def figure_of(glance: Glance) -> Figure:
    """Its images beside one another, each in its own grey scale."""
    count = len(glance.images)
    rows, columns = next(iter(glance.images.values())).shape
    width = 3.2 * count if count > 1 else 6.0
    figure = new_figure(width, min(6.0, max(1.6, width / count * rows / columns)) + 0.5)
    for axes, (label, image) in zip(figure.subplots(1, count, squeeze=False)[0], glance.images.items(), strict=True):
        wide = glance.fov_um or columns
        low, high = (float(np.quantile(image, share)) for share in SCREEN)
        image_in(axes, image, (0.0, wide, 0.0, wide * rows / columns), "gray", (low, high))
        if glance.fov_um:
            scale_bar(axes)
        axes.set_title(label, fontsize=8)
    figure.suptitle(glance.title, fontsize=9)
    return figure


def png_of(glance: Glance) -> bytes:
    """The figure as a PNG."""
    return as_png(figure_of(glance), dpi=110)
