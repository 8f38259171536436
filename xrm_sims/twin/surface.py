"""The specimen's surface as ions have left it: a height map, lowered column by column, never raised.

A column is a straight line down through the specimen's solids. Whatever takes the uppermost material away, the
surface then falls through free space to the next solid below (line of sight along -z). What went is counted by material
from the exact intervals of the column, so dose and removed volume agree to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Rectangle
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material
from xrm_sims.specimen.tracing import Solids
from xrm_sims.twin.terrain import look_down, lower_block

NUM_MATERIALS = len(Material)
UNTOUCHED = -1.0


class Specimen(Protocol):
    """What ions and electrons ask of a specimen; ``CathodePillar`` fulfils it."""

    @property
    def solids(self) -> Solids: ...

    def material_at(self, points_um: NDArray[np.float64]) -> NDArray[np.uint8]: ...

    def binder_al_fraction(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def grain_id(self, points_um: NDArray[np.float64]) -> NDArray[np.uint32]: ...


class View(NamedTuple):
    """What a beam meets at n places: material codes (n,), points just under the surface (n, 3) um, share of the sky
    seen from there (n,) and cosine of the local tilt (n,)."""

    codes: NDArray[np.uint8]
    points_um: NDArray[np.float64]
    sky: NDArray[np.float32]
    cos_tilt: NDArray[np.float32]


def by_material(lco: float, nca: float, binder: float, metal: float, average: float) -> NDArray[np.float64]:
    """(materials,) table of a property given by kind of material; carbon counts as binder, free space gets 0."""
    table = np.zeros(NUM_MATERIALS)
    table[Material.LCO] = lco
    table[[Material.NCA, Material.NCA_BOUNDARY]] = nca
    table[[Material.BINDER, Material.CARBON]] = binder
    table[[Material.DEPOSIT, Material.STEEL]] = metal
    table[Material.PILLAR_AVERAGE] = average
    return table


def removal_rates(settings: Settings) -> NDArray[np.float64]:
    """(materials,) um^3 per nC. Doses per volume add up, so the pillar's average is a harmonic mean by volume."""
    s, shares = settings.sputtering, settings.specimen
    dose_per_um3 = (
        shares.fraction_lco / s.rate_lco_um3_per_nc
        + shares.fraction_nca / s.rate_nca_um3_per_nc
        + shares.fraction_binder / s.rate_binder_um3_per_nc
    )
    return by_material(
        s.rate_lco_um3_per_nc,
        s.rate_nca_um3_per_nc,
        s.rate_binder_um3_per_nc,
        s.rate_metal_um3_per_nc,
        1.0 / dose_per_um3,
    )


@dataclass
class Surface:
    """Square height map in the specimen frame, centred on the axis.

    heights_um : (n, n) float32, rows along +y, columns along +x, cell centres at (index - (n - 1) / 2) * pitch_um.
    removed_um3 : (materials,) volume taken away so far, by material code.
    """

    heights_um: NDArray[np.float32]
    pitch_um: float
    removed_um3: NDArray[np.float64]
    probe_depth_um: float
    horizon_um: tuple[float, ...]

    @classmethod
    def fresh(cls, specimen: Specimen, settings: Settings) -> Surface:
        """The surface nobody has touched: the first solid met from above, free space already fallen through."""
        grid = settings.surface
        n = round(grid.width_um / grid.pitch_um)
        heights = np.full((n, n), specimen.solids.cylinders[:, 1].max(), np.float32)
        surface = cls(heights, grid.pitch_um, np.zeros(NUM_MATERIALS), grid.probe_depth_nm * 1e-3, grid.horizon_um)
        surface.lower(specimen, slice(0, n), slice(0, n), np.zeros((n, n)), -np.inf, settings)
        return surface

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything an ``.npz`` file has to hold."""
        return {
            "heights_um": self.heights_um,
            "pitch_um": np.asarray(self.pitch_um),
            "removed_um3": self.removed_um3,
            "probe_depth_um": np.asarray(self.probe_depth_um),
            "horizon_um": np.asarray(self.horizon_um),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Surface:
        """The inverse of :meth:`arrays`; ValueError when heights and materials do not fit."""
        heights = np.array(arrays["heights_um"], np.float32)
        removed = np.array(arrays["removed_um3"], np.float64)
        if heights.ndim != 2 or heights.shape[0] != heights.shape[1] or not np.isfinite(heights).all():
            raise ValueError(f"heights_um: needs a square map of finite heights, got shape {heights.shape}")
        if removed.shape != (NUM_MATERIALS,):
            raise ValueError(
                f"removed_um3: needs one volume for each of {NUM_MATERIALS} materials, got {removed.shape}"
            )
        horizon_um = tuple(float(d) for d in np.asarray(arrays["horizon_um"]))
        return cls(heights, float(arrays["pitch_um"]), removed, float(arrays["probe_depth_um"]), horizon_um)  # type: ignore[arg-type]

    @property
    def _first_um(self) -> float:
        return -0.5 * (len(self.heights_um) - 1) * self.pitch_um

    def height_at(self, xy_um: ArrayLike) -> NDArray[np.float32]:
        """Height in um of the cell nearest to each of (n, 2) points; beyond the map that of the rim."""
        cells = np.rint((np.asarray(xy_um, dtype=float) - self._first_um) / self.pitch_um).astype(np.int64)
        cells = np.clip(cells, 0, len(self.heights_um) - 1)
        return self.heights_um[cells[..., 1], cells[..., 0]]

    def look(self, specimen: Specimen, xy_um: NDArray[np.float64]) -> View:
        """What a beam from above meets at (n, 2) points, :class:`View`.

        The sky is the cosine-weighted share of directions that no wall covers, mean over 8 azimuths of cos^2 of the
        horizon's elevation (Dozier and Frew, IEEE Trans. Geosci. Remote Sens. 28 (1990) 963); 1 on a flat surface.
        """
        steps = np.unique(np.maximum(np.rint(np.asarray(self.horizon_um) / self.pitch_um), 1)).astype(np.int64)
        xy = np.ascontiguousarray(xy_um, dtype=float)
        return View(
            *look_down(specimen.solids, self.heights_um, self.pitch_um, self._first_um, self.probe_depth_um, steps, xy)
        )

    def erode(
        self,
        specimen: Specimen,
        scan_to_specimen: ArrayLike,
        centre_um: tuple[float, float],
        size_um: tuple[float, float],
        dose_nc: float,
        settings: Settings,
    ) -> NDArray[np.float64]:
        """Spread a dose evenly over a box of the scan frame; returns the volume removed, (materials,) um^3."""
        rows, columns, inside = self._box(scan_to_specimen, centre_um, size_um)
        dose = np.where(inside, dose_nc / _area_um2(scan_to_specimen, size_um), UNTOUCHED)
        return self.lower(specimen, rows, columns, dose, -np.inf, settings)

    def cut_plane(
        self,
        specimen: Specimen,
        scan_to_specimen: ArrayLike,
        centre_um: tuple[float, float],
        size_um: tuple[float, float],
        z_um: float,
        settings: Settings,
    ) -> NDArray[np.float64]:
        """Take away all that stands above ``z_um`` in a box of the scan frame; returns (materials,) um^3."""
        rows, columns, inside = self._box(scan_to_specimen, centre_um, size_um)
        return self.lower(specimen, rows, columns, np.where(inside, np.inf, UNTOUCHED), z_um, settings)

    def lower(
        self,
        specimen: Specimen,
        rows: slice,
        columns: slice,
        dose_nc_per_um2: NDArray[np.float64],
        z_um: float,
        settings: Settings,
    ) -> NDArray[np.float64]:
        """Spend a dose per area on each cell of a block, from the top down but not below ``z_um``.

        Cells with a negative dose (``UNTOUCHED``) stay as they are; all others fall through free space.
        Returns the volume removed, (materials,) um^3, which is also added to ``removed_um3``.
        """
        removed = lower_block(
            specimen.solids,
            self.heights_um[rows, columns],
            self._first_um + rows.start * self.pitch_um,
            self._first_um + columns.start * self.pitch_um,
            self.pitch_um,
            dose_nc_per_um2,
            z_um,
            removal_rates(settings),
        )
        volume = removed.sum(axis=0) * self.pitch_um**2
        self.removed_um3 += volume
        return volume

    def _box(
        self, scan_to_specimen: ArrayLike, centre_um: tuple[float, float], size_um: tuple[float, float]
    ) -> tuple[slice, slice, NDArray[np.bool_]]:
        """Block of cells around a box of the scan frame, and which of them have their centre in it."""
        centre, half = np.asarray(centre_um, dtype=float), 0.5 * np.asarray(size_um, dtype=float)
        corners = apply_affine(scan_to_specimen, centre + half * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]))
        low = np.floor((corners.min(axis=0) - self._first_um) / self.pitch_um).astype(int)
        high = np.ceil((corners.max(axis=0) - self._first_um) / self.pitch_um).astype(int) + 1
        (c0, r0), (c1, r1) = np.clip(low, 0, len(self.heights_um)), np.clip(high, 0, len(self.heights_um))
        x, y = np.meshgrid(np.arange(c0, c1), np.arange(r0, r1))
        xy = self._first_um + self.pitch_um * np.stack([x, y], axis=-1)
        inside = np.abs(apply_affine(invert_affine(scan_to_specimen), xy.reshape(-1, 2)) - centre) <= half
        return slice(int(r0), int(r1)), slice(int(c0), int(c1)), inside.all(axis=1).reshape(x.shape)


def mill_pass(
    specimen: Specimen,
    surface: Surface,
    *,
    scan_to_specimen: ArrayLike,
    pattern: Rectangle,
    current_pa: float,
    fraction: float,
    settings: Settings,
) -> dict[str, float]:
    """One pass of planar milling: the pass's dose takes everything in the box above some plane.

    How deep the plane gets follows from the materials really met, at their own rates, not from the wished depth.

    Parameters
    ----------
    scan_to_specimen : 2 x 3 affine from scan to specimen coordinates, um.
    pattern : its dose at the rate of LCO, divided by its passes, is the dose of one pass.
    fraction : share of this pass that is drawn, 1 unless it is cut short.

    Returns
    -------
    dose_nc, seconds, removed_um3, plane_z_um (specimen frame).

    Raises
    ------
    ValueError for a current or fraction that is not positive, and for a box beside the mapped surface.
    """
    if not (np.isfinite(current_pa) and current_pa > 0):
        raise ValueError(f"current_pa: milling needs a positive current, got {current_pa}")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: needs a share above 0 and up to 1, got {fraction}")
    dose_nc = pattern.dose_nc(settings.sputtering.rate_lco_um3_per_nc) / pattern.passes * fraction
    plane_z_um = _plane_reached(specimen, surface, scan_to_specimen, pattern, dose_nc, settings)
    removed = surface.cut_plane(specimen, scan_to_specimen, pattern.centre_um, pattern.size_um, plane_z_um, settings)
    return {
        "dose_nc": dose_nc,
        "seconds": dose_nc / (current_pa * 1e-3),
        "removed_um3": float(removed.sum()),
        "plane_z_um": plane_z_um,
    }


def dose_spot(
    specimen: Specimen,
    surface: Surface,
    *,
    xy_um: tuple[float, float],
    current_pa: float,
    seconds: float,
    settings: Settings,
) -> float:
    """A parked, unblanked beam digs where it stands (specimen frame); returns the dose in nC.

    The hole has the beam's core and tail as its profile; a cell of the height map is the finest detail it can have.
    """
    dose_nc = current_pa * 1e-3 * seconds
    tail_um = settings.ion.tail_sigma_nm * 1e-3
    core_um = float(np.hypot(core_sigma_um(current_pa, settings), 0.5 * surface.pitch_um))
    reach_um = 4.0 * tail_um
    rows, columns, _ = surface._box(np.eye(2, 3), xy_um, (2 * reach_um, 2 * reach_um))
    y = surface._first_um + surface.pitch_um * np.arange(rows.start, rows.stop)[:, None] - xy_um[1]
    x = surface._first_um + surface.pitch_um * np.arange(columns.start, columns.stop) - xy_um[0]
    share = settings.ion.tail_fraction
    profile = sum(
        weight * np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)
        for weight, sigma in ((1 - share, core_um), (share, tail_um))
    )
    surface.lower(specimen, rows, columns, dose_nc * np.asarray(profile), -np.inf, settings)
    return dose_nc


def core_sigma_um(current_pa: float, settings: Settings) -> float:
    """Standard deviation of the beam's core; its FWHM grows with current by a power law."""
    ion = settings.ion
    fwhm_nm = ion.core_fwhm_nm * max(current_pa / ion.core_current_pa, 0.0) ** ion.core_growth
    return fwhm_nm * 1e-3 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def _area_um2(scan_to_specimen: ArrayLike, size_um: tuple[float, float]) -> float:
    """Area in the specimen frame of a box of the scan frame."""
    return float(size_um[0] * size_um[1] * abs(np.linalg.det(np.asarray(scan_to_specimen, dtype=float)[:, :2])))


def _plane_reached(
    specimen: Specimen,
    surface: Surface,
    scan_to_specimen: ArrayLike,
    pattern: Rectangle,
    dose_nc: float,
    settings: Settings,
) -> float:
    """Height down to which ``dose_nc`` clears the box: root of the dose that all solid above a plane takes.

    Found on every n-th cell of the map, so that a pass costs the same whatever the size of its box.
    """
    rows, columns, inside = surface._box(scan_to_specimen, pattern.centre_um, pattern.size_um)
    stride = max(1, round(np.sqrt(inside.sum()) / settings.surface.milling_columns))
    heights, inside = surface.heights_um[rows, columns][::stride, ::stride], inside[::stride, ::stride]
    if not inside.any():
        raise ValueError(
            f"rectangle: {pattern.size_um} um around {pattern.centre_um} um misses the mapped surface; "
            f"keep it within {0.5 * settings.surface.width_um:g} um of the axis and larger than a cell of the map"
        )
    rates = removal_rates(settings)
    dose_per_um3 = np.divide(1.0, rates, out=np.zeros_like(rates), where=rates > 0)
    column_um2 = _area_um2(scan_to_specimen, pattern.size_um) / inside.sum()
    limit = np.where(inside, np.inf, UNTOUCHED)
    first_y, first_x = (surface._first_um + block.start * surface.pitch_um for block in (rows, columns))
    step_um = surface.pitch_um * stride

    def excess_nc(z_um: float) -> float:
        cleared = heights.copy()
        removed_um = lower_block(specimen.solids, cleared, first_y, first_x, step_um, limit, z_um, rates).sum(axis=0)
        return float(removed_um @ dose_per_um3) * column_um2 - dose_nc

    highest = float(heights[inside].max())
    foot = float(specimen.solids.cylinders[:, 2].min())
    reach_um = pattern.depth_um
    while excess_nc(highest - reach_um) < 0:
        if highest - reach_um < foot:
            return foot
        reach_um *= 2.0
    return float(brentq(excess_nc, highest - reach_um, highest, xtol=1e-6))
