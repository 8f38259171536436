"""Ions with their counting errors from the counts of a SIMS raster: dead time, darks, sums over frames.

A non-paralyzable counter with dead time tau registers n of N ions in a dwell T: N = n / (1 - n tau / T) (Knoll,
Radiation Detection and Measurement, ch. 4). Darks pass the same counter, so their mean is subtracted afterwards;
numbers of ions may be negative, and their sums are unbiased. The variance of n is taken as n, an upper bound because
dead time evens counts out, and propagates with (dN/dn)^2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage


class Frames(Protocol):
    """Counts (frame, channel, row, column) that are read slice by slice, as by ``xrm_sims.data.stored``."""

    def __len__(self) -> int: ...

    def __getitem__(self, wanted: slice, /) -> NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Ions:
    """Numbers of ions and the variance of each, arrays of one shape."""

    number: NDArray[np.float64]
    variance: NDArray[np.float64]

    def each(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Ions:
        """Apply a linear function to numbers and variances alike."""
        return Ions(function(self.number), function(self.variance))

    def __getitem__(self, place: Any) -> Ions:
        return self.each(lambda part: np.asarray(part[place]))

    def over(self, mask: NDArray[np.bool_]) -> Ions:
        """Return sums over the pixels of a mask (row, column); earlier axes remain."""
        return self.each(lambda part: np.asarray(part[..., mask].sum(axis=-1)))

    @property
    def error(self) -> NDArray[np.float64]:
        """Standard errors."""
        return np.sqrt(self.variance)


@dataclass(frozen=True, eq=False)
class Counters:
    """The collectors during a raster: labels, dead times in s and dark rates in 1/s, each (channel,), and the dwell."""

    labels: tuple[str, ...]
    dwell_s: float
    dead_time_s: NDArray[np.float64]
    dark_rate_cps: NDArray[np.float64]

    @classmethod
    def from_documents(cls, start: Mapping[str, Any], configuration: Mapping[str, Any]) -> Self:
        """Read the collectors from a raster's start document and the configuration of its stream.

        Raises ValueError if a collector's dead time or dark rate is missing.
        """
        labels = tuple(channel["label"] for channel in start["channels"])
        found: dict[str, list[float]] = {"dead_time_ns": [], "dark_rate_cps": []}
        for number, label in enumerate(labels, 1):
            for name, values in found.items():
                if (key := f"sector_collector_{number}_{name}") not in configuration:
                    raise ValueError(
                        f"run {start['uid']}: does not record the {name.rsplit('_', 1)[0].replace('_', ' ')} of the "
                        f"collector of {label} ({key}), which the correction of its counts needs"
                    )
                values.append(float(configuration[key]))
        dead_time_s = 1e-9 * np.array(found["dead_time_ns"])
        return cls(labels, 1e-3 * float(start["dwell_ms"]), dead_time_s, np.array(found["dark_rate_cps"]))

    @classmethod
    def unknown(cls, start: Mapping[str, Any]) -> Self:
        """Return collectors without a calibration: their counts are used uncorrected."""
        labels = tuple(channel["label"] for channel in start["channels"])
        nothing = np.zeros(len(labels))
        return cls(labels, 1e-3 * float(start["dwell_ms"]), nothing, nothing)

    def ions(self, counts: ArrayLike) -> Ions:
        """Return the ions for counts (..., channel, row, column).

        Raises ValueError for other channels, and if a pixel has more counts than its counter can register.
        """
        n = np.asarray(counts, dtype=float)
        if n.ndim < 3 or n.shape[-3] != len(self.labels):
            raise ValueError(f"counts: got shape {n.shape}, needs (..., {len(self.labels)} channels, row, column)")
        # n - 1: with n the curvature would turn the scatter of n into a bias of tau / T
        alive = 1.0 - (n - 1.0) * (self.dead_time_s / self.dwell_s)[:, None, None]
        if alive.size and alive.min() <= 0:
            raise ValueError(
                f"counts: {n.max():.0f} in a dwell of {1e3 * self.dwell_s:g} ms are more than a counter with a dead "
                f"time of {1e9 * self.dead_time_s.max():g} ns can register; check dwell and dead time"
            )
        darks = (self.dark_rate_cps * self.dwell_s)[:, None, None]
        return Ions(n / alive - darks, n / alive**4)


@dataclass(frozen=True, eq=False)
class Summed:
    """Sums over frames: ions (channel, row, column), and the number of frames that cover each pixel (row, column).

    A frame moved by a fraction of a pixel shares its ions and their variance between pixels: the variance is right for
    sums over regions, and an upper bound for a single pixel.
    """

    labels: tuple[str, ...]
    ions: Ions
    seen: NDArray[np.float64]
    frames: int

    def channel(self, label: str) -> Ions:
        """Return one channel (row, column); ValueError for an unknown label."""
        if label not in self.labels:
            raise ValueError(f"channel: there is no {label}, the collectors were set to {', '.join(self.labels)}")
        return self.ions[self.labels.index(label)]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Pixels (row, column) that every frame covers."""
        return self.seen > self.frames - 1e-6


@dataclass(frozen=True, eq=False)
class AlignedFrames:
    """A raster's frames as ions, one at a time, each moved back by its drift.

    ``shift_px`` (frame, 2) is the displacement (row, column) of each frame's image; None for no drift.
    """

    counts: Frames
    counters: Counters
    shift_px: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def raw(self, frame: int) -> Ions:
        """Return the ions (channel, row, column) of a frame, not moved."""
        return self.counters.ions(self.counts[frame : frame + 1][0])

    def __getitem__(self, frame: int) -> Ions:
        """Return the ions (channel, row, column) of a frame on the pixels of the reference."""
        ions = self.raw(frame)
        if self.shift_px is None:
            return ions
        back = (0.0, *-self.shift_px[frame])
        return ions.each(lambda part: moved(part, back))

    def counted(self) -> NDArray[np.float64]:
        """Return uncorrected counts (channel, row, column) of all frames, moved by whole pixels: still Poisson."""
        whole = np.zeros(())
        for frame in range(len(self)):
            counts = np.asarray(self.counts[frame : frame + 1][0], dtype=float)
            if self.shift_px is not None:
                counts = moved(counts, (0.0, *-np.round(self.shift_px[frame])))
            whole = whole + counts
        return whole

    def total(self) -> Summed:
        """Return the sum of all frames."""
        number = variance = seen = np.zeros(())
        for frame in range(len(self)):
            ions = self[frame]
            number, variance = number + ions.number, variance + ions.variance
            everywhere = np.ones(ions.number.shape[1:])
            seen = seen + (everywhere if self.shift_px is None else moved(everywhere, tuple(-self.shift_px[frame])))
        return Summed(self.counters.labels, Ions(number, variance), seen, len(self))


def moved(image: NDArray[np.float64], shift_px: Sequence[float]) -> NDArray[np.float64]:
    """Return an image moved with linear interpolation; content that leaves the field is lost."""
    return np.asarray(ndimage.shift(image, shift_px, order=1, mode="grid-constant", cval=0.0))
