"""From the counts of a SIMS raster to ions, with the error of counting: dead time and darks taken out, frames summed.

A collector that is dead for tau after each count, without a count prolonging it, shows n of N ions in a dwell T:
N = n / (1 - n tau / T) (Knoll, Radiation Detection and Measurement, ch. 4). Darks pass the same counter, so they are
taken off afterwards, at their mean. The variance of n is taken as n, an upper bound (dead time evens counts out), and
propagates as (dN/dn)^2; the numbers may therefore be negative where there is nothing, and that is right in sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage


class Frames(Protocol):
    """Counts (frame, channel, row, column) that are read slice by slice, such as ``xrm_sims.data.stored`` gives."""

    def __len__(self) -> int: ...

    def __getitem__(self, wanted: slice, /) -> NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Ions:
    """Numbers of ions and the variance of each, arrays of one shape."""

    number: NDArray[np.float64]
    variance: NDArray[np.float64]

    def __getitem__(self, wanted: Any) -> Ions:
        return Ions(self.number[wanted], self.variance[wanted])

    def over(self, mask: NDArray[np.bool_]) -> Ions:
        """Sums over the pixels of a mask (row, column), for each of what stands before."""
        return Ions(self.number[..., mask].sum(axis=-1), self.variance[..., mask].sum(axis=-1))

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
        """What a raster's start document and the configuration of its stream tell.

        Raises ValueError when they are silent on a collector's dead time or dark rate, which are never guessed.
        """
        labels = tuple(channel["label"] for channel in start["channels"])
        told: dict[str, list[float]] = {"dead_time_ns": [], "dark_rate_cps": []}
        for number, label in enumerate(labels, 1):
            for name, values in told.items():
                if (key := f"sector_collector_{number}_{name}") not in configuration:
                    raise ValueError(
                        f"run {start['uid']}: does not tell the {name.rsplit('_', 1)[0].replace('_', ' ')} of the "
                        f"collector of {label} ({key}), without which its counts cannot be corrected"
                    )
                values.append(float(configuration[key]))
        dead_time_s = 1e-9 * np.array(told["dead_time_ns"])
        return cls(labels, 1e-3 * float(start["dwell_ms"]), dead_time_s, np.array(told["dark_rate_cps"]))

    @classmethod
    def unknown(cls, start: Mapping[str, Any]) -> Self:
        """Collectors of which nothing is told: their counts pass for ions."""
        labels = tuple(channel["label"] for channel in start["channels"])
        nothing = np.zeros(len(labels))
        return cls(labels, 1e-3 * float(start["dwell_ms"]), nothing, nothing)

    def ions(self, counts: ArrayLike) -> Ions:
        """Ions behind counts (..., channel, row, column).

        Raises ValueError when the channels do not fit, or a pixel has more counts than its counter can register.
        """
        n = np.asarray(counts, dtype=float)
        if n.ndim < 3 or n.shape[-3] != len(self.labels):
            raise ValueError(f"counts: got shape {n.shape}, needs (..., {len(self.labels)} channels, row, column)")
        # less one: else the curve would turn the scatter of n into a surplus of tau / T
        alive = 1.0 - (n - 1.0) * (self.dead_time_s / self.dwell_s)[:, None, None]
        if alive.size and alive.min() <= 0:
            raise ValueError(
                f"counts: {n.max():.0f} in a dwell of {1e3 * self.dwell_s:g} ms are more than counters dead for "
                f"{1e9 * self.dead_time_s.max():g} ns after each can register; are dwell and dead time right?"
            )
        darks = (self.dark_rate_cps * self.dwell_s)[:, None, None]
        return Ions(n / alive - darks, n / alive**4)


@dataclass(frozen=True, eq=False)
class Summed:
    """Frames summed: ions (channel, row, column), and in how many frames each pixel (row, column) was seen.

    A frame that was moved by part of a pixel shares its ions, and their variance, out between the pixels they fall on:
    right for sums over regions, an upper bound for a single pixel.
    """

    labels: tuple[str, ...]
    ions: Ions
    seen: NDArray[np.float64]
    frames: int

    def channel(self, label: str) -> Ions:
        """(row, column) of one channel; ValueError says which there are."""
        if label not in self.labels:
            raise ValueError(f"channel: there is no {label}, the collectors stood on {', '.join(self.labels)}")
        return self.ions[self.labels.index(label)]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Pixels that lie in the field of every frame."""
        return self.seen > self.frames - 1e-6


@dataclass(frozen=True, eq=False)
class AlignedFrames:
    """A raster's frames as ions, one at a time, each moved back by what its image has drifted.

    ``shift_px`` (frame, 2) is the displacement (row, column) of each frame's image; None leaves them as they are.
    """

    counts: Frames
    counters: Counters
    shift_px: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def raw(self, frame: int) -> Ions:
        """Ions (channel, row, column) of a frame where the beam met them."""
        return self.counters.ions(self.counts[frame : frame + 1][0])

    def __getitem__(self, frame: int) -> Ions:
        """Ions (channel, row, column) of a frame in the pixels of the reference."""
        ions = self.raw(frame)
        if self.shift_px is None:
            return ions
        back = (0.0, *-self.shift_px[frame])
        return Ions(moved(ions.number, back), moved(ions.variance, back))

    def counted(self) -> NDArray[np.float64]:
        """Counts (channel, row, column) of all frames summed as they were read, each moved back by whole pixels: they
        stay counts, for what reckons with their statistics."""
        whole = np.zeros(())
        for frame in range(len(self)):
            counts = np.asarray(self.counts[frame : frame + 1][0], dtype=float)
            if self.shift_px is not None:
                counts = moved(counts, (0.0, *-np.round(self.shift_px[frame])))
            whole = whole + counts
        return whole

    def total(self) -> Summed:
        """All frames summed."""
        number = variance = seen = np.zeros(())
        for frame in range(len(self)):
            ions = self[frame]
            number, variance = number + ions.number, variance + ions.variance
            everywhere = np.ones(ions.number.shape[1:])
            seen = seen + (everywhere if self.shift_px is None else moved(everywhere, tuple(-self.shift_px[frame])))
        return Summed(self.counters.labels, Ions(number, variance), seen, len(self))


def moved(image: NDArray[np.float64], shift_px: Sequence[float]) -> NDArray[np.float64]:
    """An image displaced, each pixel's content shared out linearly; what leaves the field is lost, nothing enters."""
    return np.asarray(ndimage.shift(image, shift_px, order=1, mode="grid-constant", cval=0.0))
