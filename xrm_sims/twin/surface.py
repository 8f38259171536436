"""The specimen's surface: a height map that sputtering lowers and deposition raises, column by column.

A column is a layer of deposit (if any) on a straight line down through the specimen's solids. When the top material of
a column is gone, the surface drops through free space to the next solid (line of sight along -z); deposit lies on the
exposed solid and is removed first. The removed volume is counted by material from the exact intervals of the column, so
it agrees with the dose to rounding. Removal rates are net of redeposition within the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Floats, Shape
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material
from xrm_sims.specimen.tracing import Solids
from xrm_sims.twin.sputtering import NUM_MATERIALS, removal_rates, tilt_gain
from xrm_sims.twin.surface_kernels import facets, look_down, lower_block

Beam = tuple[tuple[float, float], ...]  # Gaussians: share, standard deviation in um
UNTOUCHED = -1.0
FULL_SHARE, LEAST_SHARE = 0.99, 1e-3  # of the dose: plane above, untouched below, flank between
BEAM_REACH = 4.0  # standard deviations
BEYOND = 64  # sampling points per side of a field that leaves the map


class Specimen(Protocol):
    """Interface of a specimen for ions and electrons; ``CathodePillar`` has it."""

    @property
    def solids(self) -> Solids: ...

    def material_at(self, points_um: Floats) -> NDArray[np.uint8]: ...

    def binder_al_fraction(self, points_um: Floats) -> Floats: ...

    def grain_id(self, points_um: Floats) -> NDArray[np.uint32]: ...


class View(NamedTuple):
    """Surface under a beam at n points.

    codes : (n,) material; points_um : (n, 3) just under the surface; sky : (n,) visible share of the sky.
    cos_tilt : (n,) of the slope over three cells, for edge brightening.
    cos_facet : (n,) of the facet under the beam; the brink of a cliff counts as flat.
    eroded_um : (n,) depth eroded since the surface was exposed.
    deposit_um : (n,) thickness of platinum deposit on the specimen's solids.
    """

    codes: NDArray[np.uint8]
    points_um: Floats
    sky: NDArray[np.float32]
    cos_tilt: NDArray[np.float32]
    cos_facet: NDArray[np.float32]
    eroded_um: NDArray[np.float32]
    deposit_um: NDArray[np.float32]

    def material_below(self, specimen: Specimen, depth_um: float) -> NDArray[np.uint8]:
        """Return codes (n,) at a depth under the points."""
        codes = specimen.material_at(self.points_um - [0.0, 0.0, depth_um])
        codes[depth_um < self.deposit_um] = Material.DEPOSIT
        return codes


@dataclass
class Surface:
    """Square height map in the specimen frame, centred on the axis.

    heights_um : (n, n) float32, rows along +y, columns along +x, cell centres at (index - (n - 1) / 2) * pitch_um.
    deposit_um : (n, n) float32, thickness of the deposit at the top of each column.
    eroded_um : (n, n) float32, depth eroded since the surface was exposed (its implanted gallium depends on it).
    removed_um3 : (materials,) volume removed so far, by material code; deposited_um3 : volume deposited so far.
    """

    heights_um: NDArray[np.float32]
    deposit_um: NDArray[np.float32]
    eroded_um: NDArray[np.float32]
    pitch_um: float
    removed_um3: Floats
    probe_depth_um: float
    horizon_um: tuple[float, ...]
    deposited_um3: float = 0.0

    @classmethod
    def fresh(cls, specimen: Specimen, settings: Settings) -> Surface:
        """Return the unmilled surface: the first solid from above in each column."""
        grid = settings.surface
        n = round(grid.width_um / grid.pitch_um)
        heights = np.full((n, n), specimen.solids.cylinders[:, 1].max(), np.float32)
        layers = np.zeros_like(heights), np.zeros_like(heights)
        probe_um = grid.probe_depth_nm * 1e-3
        surface = cls(heights, *layers, grid.pitch_um, np.zeros(NUM_MATERIALS), probe_um, grid.horizon_um)
        surface.lower(specimen, slice(0, n), slice(0, n), np.zeros((n, n)), -np.inf, removal_rates(settings))
        return surface

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all fields as arrays, without ``deposit_um`` where there is no deposit."""
        arrays = {entry.name: np.asarray(getattr(self, entry.name)) for entry in fields(self)}
        if not self.deposit_um.any():
            del arrays["deposit_um"]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Surface:
        """Make a surface from the result of :meth:`arrays`; ValueError for a wrong shape."""
        heights = np.array(arrays["heights_um"], np.float32)
        deposit, eroded = (
            np.array(arrays[name], np.float32) if name in arrays else np.zeros_like(heights)
            for name in ("deposit_um", "eroded_um")
        )
        removed = np.array(arrays["removed_um3"], np.float64)
        if heights.ndim != 2 or heights.shape[0] != heights.shape[1] or not np.isfinite(heights).all():
            raise ValueError(f"heights_um: needs a square map of finite heights, got shape {heights.shape}")
        if removed.shape != (NUM_MATERIALS,):
            raise ValueError(
                f"removed_um3: needs one volume for each of {NUM_MATERIALS} materials, got {removed.shape}"
            )
        pitch_um, probe_um, deposited_um3 = (
            float(np.asarray(array))
            for array in (arrays["pitch_um"], arrays["probe_depth_um"], arrays.get("deposited_um3", 0.0))
        )
        horizon_um = tuple(np.asarray(arrays["horizon_um"], dtype=float).tolist())
        return cls(heights, deposit, eroded, pitch_um, removed, probe_um, horizon_um, deposited_um3)

    @property
    def first_um(self) -> float:
        """x and y of the first cell's centre."""
        return -0.5 * (len(self.heights_um) - 1) * self.pitch_um

    def height_at(self, xy_um: ArrayLike) -> NDArray[np.float32]:
        """Return the height in um of the nearest cell for (n, 2) points; outside the map that of the rim."""
        cells = np.rint((np.asarray(xy_um, dtype=float) - self.first_um) / self.pitch_um).astype(np.int64)
        cells = np.clip(cells, 0, len(self.heights_um) - 1)
        return self.heights_um[cells[..., 1], cells[..., 0]]

    def look(self, specimen: Specimen, xy_um: Floats) -> View:
        """Return the :class:`View` of a beam from above at (n, 2) points.

        The sky is the cosine-weighted share of directions that no wall blocks, mean over 8 azimuths of cos^2 of the
        horizon's elevation (Dozier and Frew, IEEE Trans. Geosci. Remote Sens. 28 (1990) 963); 1 on a flat surface.
        """
        steps = np.unique(np.maximum(np.rint(np.asarray(self.horizon_um) / self.pitch_um), 1)).astype(np.int64)
        xy = np.ascontiguousarray(xy_um, dtype=float)
        layers = self.heights_um, self.deposit_um, self.eroded_um
        return View(*look_down(specimen.solids, *layers, self.pitch_um, self.first_um, self.probe_depth_um, steps, xy))

    def erode(
        self,
        specimen: Specimen,
        scan_to_specimen: ArrayLike,
        pattern: Shape,
        dose_nc: float,
        settings: Settings,
        impact_energy_kev: float | None = None,
        beam: Beam = (),
    ) -> Floats:
        """Spread a dose over a pattern of the scan frame in proportion to its depth; return (materials,) um^3 removed.

        Each material has its own rate, and tilted facets erode faster. A pattern smaller than a cell erodes the nearest
        one. Outside the map no height changes, but the removed volume is counted. ``beam`` as in :meth:`cells`.
        """
        rows, columns, share = self.cells(scan_to_specimen, pattern, beam)
        rates = removal_rates(settings, impact_energy_kev)
        full_nc_per_um2 = dose_nc / weighted_area_um2(scan_to_specimen, pattern)
        if share.any():
            dose = np.where(share > 0, share * full_nc_per_um2, UNTOUCHED)
        else:
            rows, columns = self._nearest(scan_to_specimen, pattern)
            dose = np.full((rows.stop - rows.start, columns.stop - columns.start), dose_nc / self.pitch_um**2)
        gain = tilt_gain(facets(self.heights_um[rows, columns], self.pitch_um), settings)
        removed = self.lower(specimen, rows, columns, np.where(dose > 0, dose * gain, dose), -np.inf, rates)
        return removed + self._remove_outside(specimen, scan_to_specimen, pattern, full_nc_per_um2 * rates)

    def deposit(self, scan_to_specimen: ArrayLike, pattern: Shape, volume_um3: float, beam: Beam = ()) -> None:
        """Spread a volume of deposit over a pattern of the scan frame in proportion to its depth.

        A pattern smaller than a cell raises the nearest one. Deposit outside the map is lost and not counted.
        """
        rows, columns, share = self.cells(scan_to_specimen, pattern, beam)
        layer_um = share * volume_um3 / weighted_area_um2(scan_to_specimen, pattern)
        if not share.any():
            rows, columns = self._nearest(scan_to_specimen, pattern)
            layer_um = np.full((rows.stop - rows.start, columns.stop - columns.start), volume_um3 / self.pitch_um**2)
        self.heights_um[rows, columns] += layer_um
        self.deposit_um[rows, columns] += layer_um
        self.eroded_um[rows, columns][layer_um > 0] = 0.0
        self.deposited_um3 += float(layer_um.sum()) * self.pitch_um**2

    def cut_plane(
        self,
        specimen: Specimen,
        scan_to_specimen: ArrayLike,
        pattern: Shape,
        z_um: float,
        settings: Settings,
        beam: Beam = (),
    ) -> Floats:
        """Remove everything above ``z_um`` in a pattern of the scan frame; return (materials,) um^3.

        The flanks that the beam makes around it sink by their share of the dose.
        """
        rows, columns, share = self.cells(scan_to_specimen, pattern, beam)
        limit, floor_um = flanks(self.heights_um[rows, columns], share, z_um)
        return self.lower(specimen, rows, columns, limit, floor_um, removal_rates(settings))

    def lower(
        self,
        specimen: Specimen,
        rows: slice,
        columns: slice,
        dose_nc_per_um2: Floats,
        floor_um: float | Floats,
        rates_um3_per_nc: Floats,
    ) -> Floats:
        """Erode each cell of a block with a dose per area, but not below ``floor_um``.

        Cells with a negative dose (``UNTOUCHED``) do not change; all others drop through free space.
        Returns the volume removed, (materials,) um^3, and adds it to ``removed_um3``.
        """
        removed = lower_block(
            specimen.solids,
            self.heights_um[rows, columns],
            self.deposit_um[rows, columns],
            self.eroded_um[rows, columns],
            self.first_um + rows.start * self.pitch_um,
            self.first_um + columns.start * self.pitch_um,
            self.pitch_um,
            dose_nc_per_um2,
            np.broadcast_to(np.asarray(floor_um, dtype=float), dose_nc_per_um2.shape),
            rates_um3_per_nc,
        )
        volume = removed.sum(axis=0) * self.pitch_um**2
        self.removed_um3 += volume
        return volume

    def cells(self, scan_to_specimen: ArrayLike, pattern: Shape, beam: Beam = ()) -> tuple[slice, slice, Floats]:
        """Return rows and columns of a pattern's block, and the relative depth of its cells, blurred by the beam."""
        (u0, v0), (u1, v1) = pattern.extent_um
        corners = apply_affine(scan_to_specimen, [[u0, v0], [u0, v1], [u1, v0], [u1, v1]])
        reach_um = BEAM_REACH * max((sigma_um for _, sigma_um in beam), default=0.0)
        rows, columns = self.block(corners.min(axis=0) - reach_um, corners.max(axis=0) + reach_um)
        x = self.first_um + self.pitch_um * np.arange(columns.start, columns.stop)
        y = self.first_um + self.pitch_um * np.arange(rows.start, rows.stop)[:, None]
        u, v = (a[0] * x + a[1] * y + a[2] for a in invert_affine(scan_to_specimen))
        share = pattern.depth_share(u, v)
        if beam:
            share = sum(part * gaussian_filter(share, s / self.pitch_um, truncate=BEAM_REACH) for part, s in beam)
        return rows, columns, np.asarray(share)

    def block(self, low_um: Floats, high_um: Floats) -> tuple[slice, slice]:
        """Return rows and columns of the cells between two points (x, y), cut at the rim of the map."""
        low = np.floor((low_um - self.first_um) / self.pitch_um).astype(int)
        high = np.ceil((high_um - self.first_um) / self.pitch_um).astype(int) + 1
        (c0, r0), (c1, r1) = np.clip(low, 0, len(self.heights_um)), np.clip(high, 0, len(self.heights_um))
        return slice(int(r0), int(r1)), slice(int(c0), int(c1))

    def _nearest(self, scan_to_specimen: ArrayLike, pattern: Shape) -> tuple[slice, slice]:
        """Return row and column of the cell under the middle of a pattern; empty outside the map."""
        middle = apply_affine(scan_to_specimen, np.mean(pattern.extent_um, axis=0)[None])[0]
        c, r = np.rint((middle - self.first_um) / self.pitch_um).astype(int)
        inside = min(c, r) >= 0 and max(c, r) < len(self.heights_um)
        return (slice(r, r + 1), slice(c, c + 1)) if inside else (slice(0, 0), slice(0, 0))

    def _remove_outside(
        self, specimen: Specimen, scan_to_specimen: ArrayLike, pattern: Shape, depth_um: Floats
    ) -> Floats:
        """Count the volume removed outside the map, (materials,) um^3: ``depth_um`` of each material."""
        low, high = np.asarray(pattern.extent_um)
        steps = (np.arange(BEYOND) + 0.5) / BEYOND
        u, v = np.meshgrid(low[0] + steps * (high - low)[0], low[1] + steps * (high - low)[1])
        xy = apply_affine(scan_to_specimen, np.column_stack([u.ravel(), v.ravel()]))
        beside = np.abs(xy).max(axis=1) > -self.first_um + 0.5 * self.pitch_um
        if not beside.any():
            return np.zeros(NUM_MATERIALS)
        share = pattern.depth_share(u, v).ravel()[beside]
        place_um2 = float(np.prod(high - low)) * area_scale(scan_to_specimen) / BEYOND**2
        volume = np.bincount(self.look(specimen, xy[beside]).codes, share, NUM_MATERIALS) * depth_um * place_um2
        self.removed_um3 += volume
        return np.asarray(volume)


def flanks(heights_um: NDArray[np.float32], share: Floats, plane_um: float) -> tuple[Floats, Floats]:
    """Return the doses (infinite where it mills) and the floor of each cell for planar milling of a block.

    Cells with the full dose end at the plane. On the flanks a cell sinks by its share of the step from the highest
    cell with the full dose to the plane.
    """
    full = share >= FULL_SHARE * share.max(initial=0.0)
    step_um = float(heights_um[full].max(initial=plane_um)) - plane_um
    floor_um = np.where(full, plane_um, np.maximum(plane_um, heights_um - share * step_um))
    return np.where(share > LEAST_SHARE, np.inf, UNTOUCHED), floor_um


def area_scale(scan_to_specimen: ArrayLike) -> float:
    """Return the ratio of an area in the specimen frame to that in the scan frame."""
    return float(abs(np.linalg.det(np.asarray(scan_to_specimen, dtype=float)[:, :2])))


def weighted_area_um2(scan_to_specimen: ArrayLike, pattern: Shape) -> float:
    """Return the area of a pattern in the specimen frame in um^2, weighted by its relative depth."""
    return pattern.area_um2 * pattern.mean_depth_share * area_scale(scan_to_specimen)
