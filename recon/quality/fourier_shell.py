"""Fourier shell correlation: the agreement of two volumes of one specimen at each spatial frequency.

M. van Heel, M. Schatz, J. Struct. Biol. 151 (2005) 250. Two volumes from the even and the odd views share the specimen
but not the noise; in each shell of spatial frequencies FSC = Re sum(A conj(B)) / sqrt(sum |A|^2 sum |B|^2), which is
SNR / (1 + SNR) for equal noise in both. The resolution is where the curve falls below the half-bit threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from recon.frames.prepare import Prepared
from recon.kernels.progress import Progress
from recon.runs import reconstruct
from xrm_sims.geometry import Geometry

EDGE = 0.1  # share of the mask's radius and height over which it fades
LEAST_VOXELS = 8
FIXED_THRESHOLDS = (0.143, 0.5)
FIT_REACH = 2  # shells on either side of a crossing for the slope of the curve


@dataclass(frozen=True, eq=False)
class FourierShell:
    """The curve, arrays (n,) over shells as wide as a Fourier sample of the shortest side.

    frequency_per_um : middle of each shell, cycles per um.
    correlation : -1 to 1.
    coefficients : number of independent complex Fourier coefficients in the shell under the mask.
    """

    frequency_per_um: NDArray[np.float64]
    correlation: NDArray[np.float64]
    coefficients: NDArray[np.float64]

    @property
    def half_bit(self) -> NDArray[np.float64]:
        """Threshold at which a shell holds half a bit per coefficient (van Heel and Schatz, equation 17)."""
        root = 1 / np.sqrt(self.coefficients)
        return np.asarray((0.2071 + 1.9102 * root) / (1.2071 + 0.9102 * root))

    @property
    def sigma(self) -> NDArray[np.float64]:
        """Standard error of the correlation, (1 - FSC^2) / sqrt(2 n) for n independent complex coefficients."""
        return np.asarray((1 - self.correlation**2) / np.sqrt(2 * self.coefficients))

    def crossing(self, threshold: float | None = None) -> Crossing | None:
        """Return where the curve falls below a fixed threshold (0.143, 0.5), by default below the half-bit curve.

        Returns None when the volumes agree up to the highest frequency of the voxels.
        """
        level = self.half_bit if threshold is None else np.full(len(self.correlation), threshold)
        margin = self.correlation - level
        # a single shell below the threshold may be chance, two of three successive ones are not
        below = margin < 0
        fallen = below[:-2] & (below[1:-1] | below[2:])
        if not fallen.any():
            return None
        first = int(fallen.argmax())
        f = self.frequency_per_um
        step = float(f[1] - f[0])
        if first == 0:
            return Crossing(float(f[0]), step)
        near = slice(max(first - FIT_REACH, 0), first + FIT_REACH)
        slope = min(float(np.polyfit(f[near], margin[near], 1)[0]), -1e-9)
        at = f[first - 1] + step * margin[first - 1] / (margin[first - 1] - margin[first])
        error = float(self.sigma[first]) / -slope
        return Crossing(float(at), math.hypot(error, step / math.sqrt(12)))


@dataclass(frozen=True)
class Crossing:
    """Spatial frequency of a crossing in cycles per um, with its standard error."""

    frequency_per_um: float
    sigma_per_um: float

    @property
    def resolution_um(self) -> float:
        """Full period, 1 / frequency."""
        return 1 / self.frequency_per_um

    @property
    def sigma_um(self) -> float:
        return self.sigma_per_um / self.frequency_per_um**2

    def __str__(self) -> str:
        return f"{self.resolution_um * 1e3:.0f} +- {self.sigma_um * 1e3:.0f} nm (full period)"


def fourier_shell_correlation(
    a: ArrayLike, b: ArrayLike, voxel_um: float, *, mask: float | ArrayLike | None = None
) -> FourierShell:
    """Correlate two volumes in shells of spatial frequency up to the Nyquist frequency of the voxels.

    Raises ValueError naming the argument, what it got and what it needs.

    Parameters
    ----------
    a, b : (z, y, x) volumes of the same specimen from independent data.
    voxel_um : edge of a voxel.
    mask : the region to compare, from which the mean is subtracted. A number is the radius in um of a central upright
        cylinder, with a raised-cosine edge over the last tenth of radius and height; an array (z, y, x) is the weight
        of each voxel, 0 to 1, whose edges must be soft, because hard ones count as agreement; default is the widest
        cylinder in the volume.
    """
    first, second = (np.asarray(volume, np.float32) for volume in (a, b))
    for name, volume in (("a", first), ("b", second)):
        if volume.ndim != 3 or min(volume.shape) < LEAST_VOXELS:
            raise ValueError(
                f"{name}: got shape {volume.shape}, needs (z, y, x) of at least {LEAST_VOXELS} voxels each"
            )
        if not math.isfinite(float(volume.sum(dtype=np.float64))):
            raise ValueError(f"{name}: needs finite numbers, got some that are not")
    if first.shape != second.shape:
        raise ValueError(f"b: got shape {second.shape}, needs that of a, {first.shape}")
    if not voxel_um > 0:
        raise ValueError(f"voxel_um: needs a positive length, got {voxel_um}")
    weight = _weight(mask, first.shape, voxel_um)
    box = tuple(slice(int(n.min()), int(n.max()) + 1) for n in np.nonzero(weight))
    weight = weight[box]
    spectra = []
    for volume in (first, second):
        part = volume[box]
        mean = np.float32((weight * part).sum(dtype=np.float64) / weight.sum(dtype=np.float64))
        spectra.append(fft.rfftn(weight * (part - mean), workers=-1))
    square = weight.astype(np.float64) ** 2
    share = float(square.sum() ** 2 / (weight.size * (square**2).sum()))
    return _shells(spectra[0], spectra[1], weight.shape, voxel_um, share)


def _shells(
    a: NDArray[np.complex64], b: NDArray[np.complex64], shape: tuple[int, ...], voxel_um: float, share: float
) -> FourierShell:
    """Sum over shells, one plane of frequencies at a time; ``share`` of the coefficients are independent."""
    step = 1 / (voxel_um * min(shape))  # a shell holds as many samples along the shortest side as along the others
    fz, fy = (fft.fftfreq(n, voxel_um) for n in shape[:2])
    fx = fft.rfftfreq(shape[2], voxel_um)
    count = int(0.5 / voxel_um / step)
    twice = np.where((fx > 0) & (fx < 0.5 / voxel_um), 2.0, 1.0)  # the transform stores half of the planes
    sums = np.zeros((4, count + 1))
    for plane, height in enumerate(fz):
        radius = np.sqrt(height**2 + fy[:, None] ** 2 + fx**2)
        shell = np.minimum(np.round(radius / step).astype(int), count + 1)
        both = np.broadcast_to(twice, radius.shape)
        here, there = a[plane], b[plane]
        cross = here.real * there.real + here.imag * there.imag
        for n, values in enumerate((both, both * cross, both * np.abs(here) ** 2, both * np.abs(there) ** 2)):
            sums[n] += np.bincount(shell.ravel(), values.ravel(), count + 2)[: count + 1]
    number, cross, power_a, power_b = sums[:, 1:]  # without the mean, which was subtracted
    power = np.sqrt(power_a * power_b)
    correlation = np.divide(cross, power, out=np.zeros(count), where=power > 0)
    coefficients = np.asarray(np.maximum(0.5 * number * share, 1.0), float)
    return FourierShell(step * np.arange(1.0, count + 1), correlation, coefficients)


def _weight(mask: float | ArrayLike | None, shape: tuple[int, ...], voxel_um: float) -> NDArray[np.float32]:
    if mask is not None and np.ndim(mask) > 0:
        weight = np.asarray(mask, np.float32)
        if weight.shape != shape:
            raise ValueError(f"mask: got shape {weight.shape}, needs a radius in um or weights of shape {shape}")
        if not (weight.min() >= 0 and weight.max() > 0):
            raise ValueError(f"mask: needs weights from 0 to 1, some above 0, got {weight.min():g} to {weight.max():g}")
        return weight
    largest = 0.5 * min(shape[1:]) * voxel_um
    radius = largest if mask is None else float(np.asarray(mask))
    if not 0 < radius <= largest * (1 + 1e-9):
        raise ValueError(
            f"mask: needs a radius above 0 and up to {largest:g} um, the volume's half width; got {radius:g}"
        )
    z, y, x = ((np.arange(n) - (n - 1) / 2) * voxel_um for n in shape)
    disk = _fading(np.hypot(y[:, None], x[None, :]) / radius)
    return np.asarray(_fading(np.abs(z) / (0.5 * shape[0] * voxel_um))[:, None, None] * disk, np.float32)


def _fading(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 inside, 0 from distance 1 on, a raised cosine between."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip((distance - 1 + EDGE) / EDGE, 0, 1)))


def half_volumes(
    prepared: Prepared, geometry: Geometry | None = None, *, progress: Progress | None = None, **options: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reconstruct two volumes (z, y, x) in 1/um from the even and the odd views of one scan with the same corrections.

    Errors in both count as agreement: rings of the detector, beam hardening, errors of the geometry.

    Parameters
    ----------
    prepared : the whole scan (:func:`recon.prepare_run`).
    geometry : the corrected one (:func:`recon.correct_geometry`); default that of ``prepared``.
    progress : called with "even views" or "odd views" and the finished fraction.
    options : for :func:`recon.sart`. ``tv`` is 0 unless given, because regularisation of both halves counts as
        agreement.

    Raises
    ------
    ValueError when there are fewer than four views.
    """
    whole = prepared.geometry if geometry is None else geometry
    if whole.num_views < 4:
        raise ValueError(f"geometry: needs four views or more to halve, got {whole.num_views}")
    by_angle = np.argsort(whole.angles_deg, kind="stable")
    halves = []
    for name, views in (("even views", np.sort(by_angle[::2])), ("odd views", np.sort(by_angle[1::2]))):
        part = replace(
            prepared,
            geometry=whole.only(views),
            p=prepared.p[views],
            weights=prepared.weights[views],
            times_s=prepared.times_s[views],
            reference=None,
        )

        def report(_: str, fraction: float, name: str = name) -> None:
            if progress is not None:
                progress(name, fraction)

        halves.append(reconstruct(part, progress=report, **({"tv": 0.0} | options)).volume)
    return halves[0], halves[1]
