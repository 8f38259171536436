"""Cone-beam X-ray images of the specimen from exact path lengths, the whole spectrum and a finite focal spot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import convolve1d
from scipy.special import erf

from xrm_sims.feasibility import check_photons
from xrm_sims.geometry import rotation_z
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.specimen.pillar import CathodePillar
from xrm_sims.specimen.tracing import Solids, cylinder_chord, push, sort_crossings, sweep
from xrm_sims.twin.charge_sharing import CrossTalk, sharing
from xrm_sims.twin.phase_contrast import edge_contrast, refractive_decrement
from xrm_sims.twin.spectrum import absorbed_fraction, detection_efficiency, pixel_rate
from xrm_sims.twin.surface_change import UNCHANGED, SurfaceChange, correct_path_lengths

_NEGLIGIBLE = 1e-6  # energies with a smaller share of the counts are left out
_KERNEL_SIGMAS = 4.0


@dataclass(frozen=True)
class _Beam:
    """Spectrum of a beam as the detector counts it, with properties of the materials.

    weight (energies,) counts per s and nA in the open beam; attenuation (materials, energies) per um; decrement
    (materials,) of the refractive index at the mean energy ``mean_kev`` of the counts.
    """

    weight: NDArray[np.float32]
    attenuation: NDArray[np.float32]
    decrement: NDArray[np.float32]
    mean_kev: float
    crosstalk: CrossTalk


class XrayModel:
    """Mean counts behind a specimen; positions and beam are arguments of every call."""

    def __init__(self, specimen: CathodePillar, settings: Settings) -> None:
        self.settings = settings
        self._solids = specimen.solids
        self._spread = np.ascontiguousarray(np.linalg.inv(specimen.solids.whiten))
        self._specimen_settings = specimen.settings
        self._beam = lru_cache(maxsize=16)(self._beam_uncached)

    def expected_counts(
        self,
        *,
        angle_deg: float,
        specimen_um: ArrayLike = (0.0, 0.0, 0.0),
        source_um: ArrayLike | None = None,
        material: str = "W",
        voltage_kv: float = 30.0,
        current_na: float = 400.0,
        exposure_s: float = 90.0,
        threshold_kev: float = 4.0,
        probe_nm: float | None = None,
        binning: int = 1,
        surface_change: SurfaceChange = UNCHANGED,
    ) -> NDArray[np.float32]:
        """Return mean counts (rows, columns) per binned pixel, before the detector's own imperfections.

        They include the number of counts per photon where pixels share its charge, but not the exchange of counts
        between pixels, see :meth:`crosstalk`.

        Parameters
        ----------
        angle_deg : rotation of the specimen, counter-clockwise seen from +z.
        specimen_um : origin of the specimen in the laboratory (stage and run-out).
        source_um : focal spot in the laboratory; None: (-source_object, 0, 0).
        material, voltage_kv, current_na, probe_nm : target and electron beam; None: the probe of the settings.
        binning : edge of a binned pixel in detector pixels. Rays go to the centres of
            ``settings.xray.rays_per_pixel_edge``² equal parts of a binned pixel, or to each of its physical pixels.
        surface_change : material that ions removed and deposited.

        Raises
        ------
        ValueError when ``binning`` does not divide the detector, the source lies in or behind the specimen, no
        spectrum is tabulated for target or voltage, or the threshold lies above the end of the spectrum.
        """
        detector, xray = self.settings.detector, self.settings.xray
        binned_shape(detector.rows, detector.columns, binning)
        rays = math.gcd(binning, xray.rays_per_pixel_edge)
        pitch_px = binning // rays
        rows, columns = binned_shape(detector.rows, detector.columns, pitch_px)
        nominal = np.array([-1e3 * xray.source_object_mm, 0.0, 0.0])
        source = nominal if source_um is None else np.asarray(source_um, dtype=float)
        origin = np.asarray(specimen_um, dtype=float)
        if source[0] + 0.5 * self._specimen_settings.diameter_um >= origin[0]:
            raise ValueError(f"source_um: {source.tolist()} lies inside or behind the specimen at {origin.tolist()}")
        pitch_um = 1e3 * detector.pixel_mm * pitch_px
        plane_um = 1e3 * (xray.source_detector_mm - xray.source_object_mm)
        corner = np.array([plane_um, -0.5 * (columns - 1) * pitch_um, -0.5 * (rows - 1) * pitch_um])
        turn = rotation_z(-angle_deg)
        # directions are scaled so that t = 1 lies near the axis, which keeps the digits of float32
        scale = xray.source_object_mm / xray.source_detector_mm
        frame = np.array([corner - source, [0.0, pitch_um, 0.0], [0.0, 0.0, pitch_um]]) @ turn.T * scale
        beam = self._beam(material, float(voltage_kv), float(threshold_kev))
        spot = self.settings.source.focal_spot_of(self.settings.electron.probe_nm if probe_nm is None else probe_nm)
        counts = current_na * exposure_s * pitch_px**2
        reach = (1e3 * xray.source_detector_mm * scale) ** 2 * scale * (corner[0] - source[0])
        seen_from = np.ascontiguousarray(turn @ (source - origin))
        image, refraction_um = _project(
            self._solids,
            surface_change,
            _shadows(self._solids.centre, self._spread, seen_from, frame, (rows, columns)),
            seen_from,
            frame,
            (rows, columns),
            np.float32(counts) * beam.weight,
            beam.attenuation,
            beam.decrement,
            reach,
        )
        if xray.edge_enhancement:
            image *= 1 + edge_contrast(refraction_um, beam.mean_kev, pitch_um / self.settings.magnification, xray)
        return bin_pixels(self._blur(image, spot, pitch_px), rays)

    def crosstalk(self, *, material: str = "W", voltage_kv: float = 30.0, threshold_kev: float = 4.0) -> CrossTalk:
        """Return the exchange of counts between neighbouring pixels, averaged over the spectrum in the open beam."""
        return self._beam(material, float(voltage_kv), float(threshold_kev)).crosstalk

    def _beam_uncached(self, material: str, voltage_kv: float, threshold_kev: float) -> _Beam:
        check_photons(self.settings, voltage_kv, threshold_kev)
        detector = self.settings.detector
        energies, rate = pixel_rate(self.settings, material, voltage_kv, 1.0)
        detected = rate * detection_efficiency(energies, detector, threshold_kev)
        keep = detected > _NEGLIGIBLE * detected.sum()
        mean_kev = float(np.average(energies, weights=detected))
        attenuation = [attenuation_per_um(m, energies[keep], self._specimen_settings) for m in Material]
        decrement = [refractive_decrement(m, mean_kev, self._specimen_settings) for m in Material]
        return _Beam(
            weight=detected[keep].astype(np.float32),
            attenuation=np.array(attenuation, np.float32),
            decrement=np.array(decrement, np.float32),
            mean_kev=mean_kev,
            crosstalk=sharing(energies, detector, threshold_kev).crosstalk(
                rate * absorbed_fraction(energies, detector)
            ),
        )

    def _blur(self, image: NDArray[np.float32], spot: dict[str, Any], binning: int) -> NDArray[np.float32]:
        """Convolve with the image of the focal spot, a sum of Gaussians at magnification M - 1."""
        pixels_per_um = (self.settings.magnification - 1) * 1e-3 / (self.settings.detector.pixel_mm * binning)
        blurred = np.zeros_like(image)
        for share, sigma_um in zip(spot["shares"], spot["sigma_um"], strict=True):
            across = convolve1d(image, _gaussian_kernel(sigma_um * pixels_per_um), axis=1, mode="nearest")
            down = _gaussian_kernel(sigma_um * spot["vertical_stretch"] * pixels_per_um)
            blurred += np.float32(share) * convolve1d(across, down, axis=0, mode="nearest")
        return blurred


def binned_shape(rows: int, columns: int, binning: int) -> tuple[int, int]:
    """Return (rows, columns) after binning; ValueError when ``binning`` does not divide both."""
    if binning < 1 or rows % binning or columns % binning:
        raise ValueError(f"binning: needs a divisor of {rows} rows and {columns} columns, got {binning}")
    return rows // binning, columns // binning


def bin_pixels(image: NDArray[Any], binning: int) -> NDArray[Any]:
    """Return sums over squares of ``binning`` x ``binning`` pixels."""
    if binning == 1:
        return image
    rows, columns = image.shape
    return image.reshape(rows // binning, binning, columns // binning, binning).sum(axis=(1, 3))


def _gaussian_kernel(sigma_px: float) -> NDArray[np.float64]:
    """Return a Gaussian integrated over each pixel, normalised."""
    radius = max(1, int(np.ceil(_KERNEL_SIGMAS * sigma_px)))
    edges = np.arange(-radius, radius + 2) - 0.5
    kernel = np.diff(erf(edges / (np.sqrt(2) * sigma_px)))
    return kernel / kernel.sum()


def _shadows(
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
    source: NDArray[np.float64],
    frame: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.int32]:
    """Return first and last row and column of each ellipsoid's shadow, (n, 4); an empty range when it lies outside."""
    pitch = np.linalg.norm(frame[[2, 1]], axis=1)
    down, across = frame[[2, 1]] / pitch[:, None]
    ahead = np.cross(across, down)
    step = centre - source
    depth = step @ ahead
    thick = np.linalg.norm(ahead @ spread, axis=1)
    shadows = np.empty((len(centre), 4), np.int32)
    for axis, along in enumerate((down, across)):
        middle, half = step @ along, np.linalg.norm(along @ spread, axis=1)
        near, far = (frame[0] @ ahead / (depth + d) for d in (-thick, thick))
        low = np.minimum((middle - half) * near, (middle - half) * far)
        high = np.maximum((middle + half) * near, (middle + half) * far)
        first = np.ceil((low - frame[0] @ along) / pitch[axis])
        last = np.floor((high - frame[0] @ along) / pitch[axis])
        shadows[:, 2 * axis] = np.clip(first, 0, shape[axis])
        shadows[:, 2 * axis + 1] = np.clip(last, -1, shape[axis] - 1)
    return shadows


@njit(cache=True, parallel=True)
def _project(
    solids: Solids,
    surface_change: SurfaceChange,
    shadows: NDArray[np.int32],
    source: NDArray[np.float64],
    frame: NDArray[np.float64],
    shape: tuple[int, int],
    weight: NDArray[np.float32],
    attenuation: NDArray[np.float32],
    decrement: NDArray[np.float32],
    reach: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return counts and path lengths times refractive decrement in um, (rows, columns) each.

    Rays are source + t (frame[0] + column frame[1] + row frame[2]). Each solid adds its crossings only to the pixels
    of its shadow; then the crossings of each pixel are sorted and swept. Rows are independent, so the result does not
    depend on threads.
    """
    image, refraction_um = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for row in prange(shape[0]):
        # the variable of a parallel loop is unsigned; the functions below would be compiled twice
        here = np.int64(row)
        beam = weight, attenuation, decrement, reach
        _project_row(solids, surface_change, shadows, source, frame, here, beam, image[here], refraction_um[here])
    return image, refraction_um


@njit(cache=True)
def _project_row(solids, surface_change, shadows, source, frame, row, beam, counts, refraction_um):  # type: ignore
    columns = len(counts)
    num_cylinders = len(solids.cylinders)
    # the largest number of crossings of each column gives the start of its list
    first = np.zeros(columns + 1, np.int64)
    for i in range(len(shadows)):
        if shadows[i, 0] <= row <= shadows[i, 1] and shadows[i, 2] <= shadows[i, 3]:
            first[shadows[i, 2]] += 2
            first[shadows[i, 3] + 1] -= 2
    running = begin = 0
    for c in range(columns + 1):
        running += first[c]
        first[c] = begin
        begin += running + 2 * num_cylinders
    t = np.empty(begin)
    code = np.empty(begin, np.int32)
    used = np.zeros(columns, np.int64)
    low, high = np.empty(columns), np.empty(columns)
    d = np.empty(3)
    for c in range(columns):
        _direction(frame, row, c, d)
        for k in range(num_cylinders):
            radius, top, bottom = solids.cylinders[k]
            low[c], high[c] = cylinder_chord(radius, top, bottom, source, d)
            low[c] = max(low[c], 0.0)
            used[c] = push(t[first[c] :], code[first[c] :], used[c], low[c], high[c], k)
    for i in range(len(shadows)):
        if shadows[i, 0] <= row <= shadows[i, 1]:
            _splat(solids, i, source, frame, row, shadows[i], low, high, first, used, t, code)
    _attenuate_row(solids, surface_change, source, frame, row, (first, used, t, code), beam, counts, refraction_um)


@njit(cache=True, inline="always")
def _direction(frame, row, column, d):  # type: ignore[no-untyped-def]
    for k in range(3):
        d[k] = frame[0, k] + column * frame[1, k] + row * frame[2, k]


@njit(cache=True)
def _splat(solids, i, source, frame, row, shadow, low, high, first, used, t, code):  # type: ignore[no-untyped-def]
    """Append the crossings of ellipsoid i with the rays of one row to the lists of their pixels."""
    o, d0, d1 = np.zeros(3), np.zeros(3), np.zeros(3)
    for k in range(3):
        for m in range(3):
            w = solids.whiten[i, k, m]
            o[k] += w * (source[m] - solids.centre[i, m])
            d0[k] += w * (frame[0, m] + row * frame[2, m])
            d1[k] += w * frame[1, m]
    excess = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0
    solid = len(solids.cylinders) + i
    for c in range(shadow[2], shadow[3] + 1):
        x, y, z = d0[0] + c * d1[0], d0[1] + c * d1[1], d0[2] + c * d1[2]
        a = x * x + y * y + z * z
        b = x * o[0] + y * o[1] + z * o[2]
        root = b * b - a * excess
        if root > 0.0:
            root = np.sqrt(root)
            enter, leave = max((-b - root) / a, low[c]), min((-b + root) / a, high[c])
            if enter < leave:
                n = first[c] + used[c]
                t[n], t[n + 1] = enter, leave
                code[n], code[n + 1] = solid + 1, -(solid + 1)
                used[c] += 2


@njit(cache=True)
def _attenuate_row(solids, surface_change, source, frame, row, crossings, beam, counts, refraction_um):  # type: ignore
    """Compute Beer-Lambert attenuation over all energies, and refraction, along every ray of one row."""
    weight, attenuation, decrement, reach = beam
    first, used, t, code = crossings
    longest = used.max()
    active = np.empty(longest, np.int32)
    t_in, t_out = np.empty(longest), np.empty(longest)
    kind = np.empty(longest, np.uint8)
    exponent = np.empty(len(weight), np.float32)
    path_um = np.empty(len(attenuation), np.float32)
    d = np.empty(3)
    in_the_open = weight.sum()
    touched = surface_change.top_um.size > 0
    for c in range(len(counts)):
        _direction(frame, row, c, d)
        length = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
        here, codes = t[first[c] :], code[first[c] :]
        sort_crossings(here, codes, used[c])
        n = sweep(here, codes, used[c], solids.material, active, t_in, t_out, kind)
        if n == 0 and not touched:
            refraction_um[c] = 0.0
            counts[c] = np.float32(reach / (length * length * length)) * in_the_open
            continue
        for m in range(len(path_um)):
            path_um[m] = 0.0
        for k in range(n):
            path_um[kind[k]] += np.float32((t_out[k] - t_in[k]) * length)
        if touched:
            correct_path_lengths(surface_change, source, d, t_in, t_out, kind, n, path_um)
        for e in range(len(weight)):
            exponent[e] = 0.0
        refraction_um[c] = 0.0
        for m in range(len(path_um)):
            if path_um[m] > 0.0:
                refraction_um[c] += path_um[m] * decrement[m]
                for e in range(len(weight)):
                    exponent[e] -= path_um[m] * attenuation[m, e]
        total = np.float32(0.0)
        for e in range(len(weight)):
            total += weight[e] * np.exp(exponent[e])
        counts[c] = np.float32(reach / (length * length * length)) * total
