"""Animated GIF of the slices of a volume, or of the frames of a raster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.exchange.images import Image
from xrm_sims.exchange.writing import Progress, library

MAX_FRAMES = 240
MAX_SIZE_PX = 512
FRAME_MS = 60
CONTRAST = (0.5, 99.5)
CONTRAST_SLICES = 16  # slices used to find the contrast


def write_gif(image: Image, path: Path, progress: Progress) -> None:
    """Write grey slices from the bottom of the volume up; rows run upwards in each picture, as in our figures."""
    pictures = _pictures(image, progress)
    first = next(pictures)
    comment = f"{image.provenance.as_text()}\nunits: {image.units}\npixel_um: {image.pixel_um:g}"
    first.save(
        path, "GIF", save_all=True, append_images=pictures, duration=FRAME_MS, loop=0, comment=comment.encode("utf-8")
    )


def _pictures(image: Image, progress: Progress) -> Iterator[Any]:
    pillow = library("PIL.Image")
    count = image.shape[0]
    shown = np.unique(np.linspace(0, count - 1, min(count, MAX_FRAMES)).round().astype(int)).tolist()
    low, high = _contrast(image)
    for done, number in enumerate(shown, 1):
        grey = np.clip((_slice(image, number) - low) / (high - low), 0, 1) * 255
        picture = pillow.fromarray(grey[::-1].round().astype(np.uint8))
        picture.thumbnail((MAX_SIZE_PX, MAX_SIZE_PX))
        progress("movie", done / len(shown))
        yield picture


def _slice(image: Image, number: int) -> NDArray[np.float32]:
    """Return (row, column); channels of a map side by side, each divided by its largest count."""
    array = np.asarray(image.data[number : number + 1])[0].astype(np.float32)
    if array.ndim == 2:
        return array
    return np.concatenate([channel / max(float(channel.max()), 1.0) for channel in array], axis=1)


def _contrast(image: Image) -> tuple[float, float]:
    picks = np.unique(np.linspace(0, image.shape[0] - 1, CONTRAST_SLICES).round().astype(int)).tolist()
    low, high = np.percentile(np.stack([_slice(image, number) for number in picks]), CONTRAST)
    return float(low), float(max(high, low + 1e-12))
