"""SIMS maps as people look at them: composition in colour, statistics per channel, phases, and the CT slice beneath.

Maps are (channel, row, column) counts; labels name the channels by isotope, such as "7Li".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from xrm_sims.correlate.segment import Volume, um_to_voxel
from xrm_sims.geometry import apply_affine

COLOURS = {"7Li": (0.0, 1.0, 0.0), "27Al": (0.15, 0.35, 1.0), "59Co": (1.0, 0.0, 0.0)}  # as in the paper


class Phase(IntEnum):
    PORE = 0
    BINDER = 1
    LCO = 2
    NCA = 3

    @property
    def words(self) -> str:
        return self.name if self in (Phase.LCO, Phase.NCA) else self.name.lower()


# of Okabe and Ito's set, told apart by whoever sees colours otherwise, and by their lightness
PHASE_COLOURS = {Phase.PORE: "#000000", Phase.BINDER: "#009e73", Phase.LCO: "#d55e00", Phase.NCA: "#f0e442"}


@dataclass(frozen=True)
class PhaseSettings:
    """Thresholds as shares of what is typical for active material in the same field."""

    smooth_px: float = 2.0
    active_share: float = 0.3  # of the 90th percentile of lithium
    nickel_share: float = 0.5  # Ni / (Ni + Co) above this: NCA (LCO has none, NCA about 0.84 of its counts)
    binder_al_counts: float = 0.4  # per pixel: more than a pore gives


@dataclass(frozen=True)
class ChannelStatistics:
    label: str
    total: int
    mean: float
    standard_error: float
    maximum: int
    percentile_99: float


def sum_frames(counts: ArrayLike) -> NDArray[np.float64]:
    """(frame, channel, row, column) or (channel, row, column) counts to their sum over frames."""
    array = np.asarray(counts, dtype=float)
    if array.ndim == 4:
        array = array.sum(axis=0)
    if array.ndim != 3:
        raise ValueError(f"sims_counts: got shape {np.shape(counts)}, needs ([frame,] channel, row, column)")
    return array


def channel_statistics(counts: ArrayLike, labels: Sequence[str]) -> list[ChannelStatistics]:
    """Totals and means per pixel with their Poisson standard error, sqrt(total) / pixels."""
    maps = sum_frames(counts)
    _check_labels(maps, labels)
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
    """(row, column, 3) in 0..1: each channel of ``COLOURS`` scaled to its own percentile and added in its colour."""
    maps = sum_frames(counts)
    _check_labels(maps, labels)
    picture = np.zeros((*maps.shape[1:], 3))
    for label, colour in COLOURS.items():
        if label not in labels:
            continue
        image = ndimage.gaussian_filter(maps[list(labels).index(label)], smooth_px)
        top = np.percentile(image, percentile)
        picture += np.clip(image / top if top > 0 else image, 0, 1)[..., None] * np.array(colour)
    return np.clip(picture, 0, 1).astype(np.float32)


def phase_map(counts: ArrayLike, labels: Sequence[str], settings: PhaseSettings = PhaseSettings()) -> NDArray[np.uint8]:
    """(row, column) codes of ``Phase`` from smoothed counts: lithium says active, Ni / (Ni + Co) which, Al binder.

    Needs the channels 7Li, 27Al, 58Ni and 59Co; ValueError names the one that is missing.
    """
    maps = sum_frames(counts)
    _check_labels(maps, labels)
    for needed in ("7Li", "27Al", "58Ni", "59Co"):
        if needed not in labels:
            raise ValueError(f"labels: the phase map needs channel {needed}, got {', '.join(labels)}")
    smooth = {n: ndimage.gaussian_filter(maps[list(labels).index(n)], settings.smooth_px) for n in labels}
    wide = {n: ndimage.gaussian_filter(maps[list(labels).index(n)], 2 * settings.smooth_px) for n in ("58Ni", "59Co")}
    active = smooth["7Li"] > settings.active_share * np.percentile(smooth["7Li"], 90)
    nickel = wide["58Ni"] / np.maximum(wide["58Ni"] + wide["59Co"], 1e-6)
    codes = np.where(smooth["27Al"] > settings.binder_al_counts, Phase.BINDER, Phase.PORE)
    codes = np.where(active, np.where(nickel > settings.nickel_share, Phase.NCA, Phase.LCO), codes)
    return codes.astype(np.uint8)


def slice_in_field(
    volume: Volume, voxel_um: float, z_um: float, sims_to_specimen: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """The CT slice at height z, resampled (linear) to the pixels of a raster.

    ``sims_to_specimen`` carries pixel (column, row) to specimen (x, y) in um, ``shape`` is (rows, columns). Pixels
    outside the volume are NaN. Raises ValueError when the height is outside the volume.
    """
    array = np.asarray(volume)
    half = (array.shape[0] - 1) / 2 * voxel_um
    if not -half <= z_um <= half:
        raise ValueError(f"z_um: {z_um:.2f} um is outside the volume, which reaches from {-half:.2f} to {half:.2f} um")
    r, c = np.indices(shape)
    xy = apply_affine(sims_to_specimen, np.column_stack([c.ravel(), r.ravel()]))
    at = um_to_voxel(np.column_stack([xy, np.full(len(xy), z_um)]), array.shape, voxel_um)
    values = ndimage.map_coordinates(array, at.T, order=1, mode="constant", cval=np.nan, output=np.float32)
    return np.asarray(values.reshape(shape), dtype=np.float32)


def _check_labels(maps: NDArray[np.float64], labels: Sequence[str]) -> None:
    if len(labels) != len(maps):
        raise ValueError(f"labels: got {len(labels)} for {len(maps)} channels")
