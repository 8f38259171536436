"""SIMS maps: colour composition, statistics of each channel, and the CT slice in the field of a raster.

Maps are (channel, row, column) counts; labels name the channels by isotope, such as "7Li".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from xrm_sims.correlate.volume.segment import Volume, um_to_voxel
from xrm_sims.geometry import apply_affine

COLOURS = {"7Li": (0.0, 1.0, 0.0), "27Al": (0.15, 0.35, 1.0), "59Co": (1.0, 0.0, 0.0)}  # as in the paper


@dataclass(frozen=True)
class ChannelStatistics:
    label: str
    total: int
    mean: float
    standard_error: float
    maximum: int
    percentile_99: float


def sum_frames(counts: ArrayLike) -> NDArray[np.float64]:
    """Return counts ([frame,] channel, row, column) summed over frames."""
    array = np.asarray(counts, dtype=float)
    if array.ndim == 4:
        array = array.sum(axis=0)
    if array.ndim != 3:
        raise ValueError(f"sims_counts: got shape {np.shape(counts)}, needs ([frame,] channel, row, column)")
    return array


def channel_statistics(counts: ArrayLike, labels: Sequence[str]) -> list[ChannelStatistics]:
    """Return totals and means per pixel with their Poisson standard error, sqrt(total) / pixels."""
    maps = sum_frames(counts)
    check_labels(maps, labels)
    return [
        ChannelStatistics(
            label,
            int(image.sum()),
            float(image.mean()),
            float(np.sqrt(image.sum()) / image.size),
            int(image.max()),
            float(np.percentile(image, 99)),
        )
        for label, image in zip(labels, maps, strict=True)
    ]


def rgb_composition(
    counts: ArrayLike, labels: Sequence[str], smooth_px: float = 0.7, percentile: float = 99.7
) -> NDArray[np.float32]:
    """Return an image (row, column, 3) in 0..1: the channels of ``COLOURS``, each scaled to its percentile, added."""
    maps = sum_frames(counts)
    check_labels(maps, labels)
    picture = np.zeros((*maps.shape[1:], 3))
    for label, colour in COLOURS.items():
        if label not in labels:
            continue
        image = ndimage.gaussian_filter(maps[list(labels).index(label)], smooth_px)
        top = np.percentile(image, percentile)
        picture += np.clip(image / top if top > 0 else image, 0, 1)[..., None] * np.array(colour)
    return np.clip(picture, 0, 1).astype(np.float32)


def slice_in_field(
    volume: Volume, voxel_um: float, z_um: float, sims_to_specimen: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the CT slice at height z, interpolated linearly at the pixels of a raster.

    ``sims_to_specimen`` maps pixel (column, row) to specimen (x, y) in um, ``shape`` is (rows, columns). Pixels
    outside the volume are NaN. Raises ValueError when the height is outside the volume.
    """
    return _in_field(
        np.asarray(volume, dtype=np.float32), voxel_um, z_um, sims_to_specimen, shape, order=1, outside=np.nan
    )


def labels_in_field(
    labels: NDArray[np.int32], voxel_um: float, z_um: float, sims_to_specimen: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Return labels (z, y, x) in a raster as :func:`slice_in_field`: of the nearest voxel, 0 outside the volume."""
    return _in_field(labels, voxel_um, z_um, sims_to_specimen, shape, order=0, outside=0)


def _in_field(
    array: NDArray[Any],
    voxel_um: float,
    z_um: float,
    sims_to_specimen: ArrayLike,
    shape: tuple[int, int],
    *,
    order: int,
    outside: float,
) -> NDArray[Any]:
    half = (array.shape[0] - 1) / 2 * voxel_um
    if not -half <= z_um <= half:
        raise ValueError(f"z_um: {z_um:.2f} um is outside the volume, which reaches from {-half:.2f} to {half:.2f} um")
    r, c = np.indices(shape)
    xy = apply_affine(sims_to_specimen, np.column_stack([c.ravel(), r.ravel()]))
    at = um_to_voxel(np.column_stack([xy, np.full(len(xy), z_um)]), array.shape, voxel_um)
    values = ndimage.map_coordinates(array, at.T, order=order, mode="constant", cval=outside, output=array.dtype)
    return np.asarray(values.reshape(shape))


def check_labels(maps: NDArray[np.float64], labels: Sequence[str]) -> None:
    """Raise ValueError unless there is one label for each channel."""
    if len(labels) != len(maps):
        raise ValueError(f"labels: got {len(labels)} for {len(maps)} channels")
