"""The last image of a run that may still be running, from its documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrm_sims.app.common.rasters import labels_of
from xrm_sims.correlate.figures.drawing import as_png, image_in, new_figure, scale_bar
from xrm_sims.data.frames import read_block
from xrm_sims.data.run_summary import Document, RunSummary

GREY_RANGE = (0.005, 0.995)  # quantiles of an image that are drawn black and white


@dataclass(frozen=True)
class Frame:
    """Images (row, column) of one frame by label, their field of view (None if unknown), and a title."""

    uid: str
    images: dict[str, NDArray[Any]]
    title: str
    fov_um: float | None = None


class LastFrame(RunSummary):
    """A callback ``(name, doc)`` for the documents of one run; :meth:`read` returns its last frame.

    ``only`` restricts it to the frames of one stream.
    """

    def __init__(self, documents: Iterable[Document] = (), only: str | None = None) -> None:
        super().__init__(documents, keep_events=False)
        self._only = only

    def read(self) -> Frame | None:
        """Return the frame, or None if the run has none. Raises ValueError if its file is unreadable."""
        datum = next((one for one in reversed(self.datums) if self._only in (None, self.stream_of(one))), None)
        if datum is None:
            return None
        resource, index, start = self.resources[datum["stream_resource"]], datum["indices"]["stop"] - 1, self.start_doc
        frame = read_block(resource, index, index + 1)[0]
        images = (
            {resource["data_key"]: frame} if frame.ndim == 2 else dict(zip(self._labels(frame), frame, strict=True))
        )
        stream = "" if (name := self.stream_of(datum)) == "primary" else f"{name} "
        title = f"{start.get('scan_type', 'run')} {start['uid'][:8]}: {stream}frame {index + 1}"
        return Frame(start["uid"], images, title, start.get("fov_um"))

    def _labels(self, frame: NDArray[Any]) -> list[str]:
        start = self.start_doc
        named = labels_of(start) if "channels" in start else start.get("elements", [])
        return list(named) if len(named) == len(frame) else [f"image {number}" for number in range(len(frame))]


def figure_of(frame: Frame) -> Figure:
    """Return a figure of the images side by side, each with its own grey scale."""
    count = len(frame.images)
    rows, columns = next(iter(frame.images.values())).shape
    width = 3.2 * count if count > 1 else 6.0
    figure = new_figure(width, min(6.0, max(1.6, width / count * rows / columns)) + 0.5)
    for axes, (label, image) in zip(figure.subplots(1, count, squeeze=False)[0], frame.images.items(), strict=True):
        wide = frame.fov_um or columns
        low, high = (float(np.quantile(image, share)) for share in GREY_RANGE)
        image_in(axes, image, (0.0, wide, 0.0, wide * rows / columns), "gray", (low, high))
        if frame.fov_um:
            scale_bar(axes)
        axes.set_title(label, fontsize=8)
    figure.suptitle(frame.title, fontsize=9)
    return figure


def png_of(frame: Frame) -> bytes:
    """Return the figure as a PNG."""
    return as_png(figure_of(frame), dpi=110)
