"""SIMS rasters of a milled plane, with the true material at each pixel."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

import plans
from xrm_sims.app.common.rasters import labels_of
from xrm_sims.app.session.session import Session
from xrm_sims.app.validation.laboratory import Laboratory, truth_of
from xrm_sims.data import read_counts
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.ions import Scan, pixel_points
from xrm_sims.twin.surface import Surface

DEPTH_UM = 1.5  # of the paper's fields below the pillar's top
MARGIN_UM = 5.0  # the walls of the milled box shade about two micrometres on each side
SCRATCH_UM, STROKES = 0.02, 6
FINE_PARTS = 6  # points along each edge of a pixel


@dataclass(frozen=True, eq=False)
class Field:
    """Counts (channel, row, column) of one frame, and the true surface just before it.

    material (row, column) at the pixel centres, with NCA_BOUNDARY for grain boundaries; flat: neither shaded nor
    tilted; points_um (row, column, 3) in the specimen; boundary_share: the part of each pixel that is a grain boundary
    of NCA, None if not computed; eroded_nm: depth that the frame removed.
    """

    raster: Raster
    counts: NDArray[np.float64]
    labels: tuple[str, ...]
    impact_kev: float
    material: NDArray[np.uint8]
    flat: NDArray[np.bool_]
    points_um: NDArray[np.float64]
    boundary_share: NDArray[np.float64] | None
    eroded_nm: NDArray[np.float64]

    def channel(self, label: str) -> NDArray[np.float64]:
        return np.asarray(self.counts[self.labels.index(label)])

    def well_inside(self, material: Material, guard_um: float = 0.2) -> NDArray[np.bool_]:
        """Return the flat pixels (row, column) at least ``guard_um`` from any other material."""
        return well_inside((self.material == material) & self.flat, guard_um / self.raster.pixel_um)

    def away_from(self, materials: tuple[Material, ...]) -> NDArray[np.float64]:
        """Return the distance in um (row, column) to these materials; the field's rim counts as one of them."""
        free = np.pad(~np.isin(self.material, materials), 1)
        return np.asarray(distance_transform_edt(free))[1:-1, 1:-1] * self.raster.pixel_um


def well_inside(mask: NDArray[np.bool_], guard_px: float) -> NDArray[np.bool_]:
    """Return the pixels (row, column) whose square surroundings, ``guard_px`` to each side, are all in the mask."""
    size = 2 * max(1, round(guard_px)) + 1
    return np.asarray(binary_erosion(mask, np.ones((size, size))))


def fields_of(
    lab: Laboratory,
    name: str,
    settings: Settings,
    formats: Sequence[tuple[float, float]],
    *,
    boundaries: Collection[tuple[float, float]] = (),
) -> dict[tuple[float, float], Field]:
    """Mill to the paper's depth and take a frame of each format (field of view in um, dwell in ms), in order.

    Formats in ``boundaries`` also get the shares of NCA's grain boundaries.
    """
    with lab.session(name, settings) as session:
        size_um = max(fov for fov, _ in formats) + MARGIN_UM
        mill(session, (size_um, size_um), (0.0, 0.0), lab.specimen.settings.top_um - DEPTH_UM)
        return {each: take(session, *each, boundaries=each in boundaries) for each in formats}


def mill(session: Session, size_um: tuple[float, float], centre_um: tuple[float, float], z_um: float) -> None:
    """Mill a box of the ion beam's scan frame down to a plane of the specimen, stroke by stroke.

    The depth of a dose depends on the material, which no plan knows; the true height is read after each stroke.
    """

    def stroke(depth_um: float) -> Generator[Any, Any, str]:
        return plans.mill(session.scope, Rectangle(size_um, depth_um, centre_um, passes=1))

    def dig() -> Generator[Any, Any, None]:
        yield from stroke(SCRATCH_UM)  # the mode changes with the first one, and with the mode the frame
        share = 0.6
        for _ in range(STROKES):
            plane_um = _plane_um(session, size_um, centre_um)
            if plane_um - z_um < SCRATCH_UM:
                return
            stroke_um = share * (plane_um - z_um)
            yield from stroke(stroke_um)
            done_um = plane_um - _plane_um(session, size_um, centre_um)
            share = min(1.0, stroke_um / max(done_um, 0.1 * stroke_um))

    session.run(dig())


def _plane_um(session: Session, size_um: tuple[float, float], centre_um: tuple[float, float]) -> float:
    """Return the height of the bottom of a milled box, at its 90th percentile."""
    truth = truth_of(session)
    u, v = (c + 0.3 * s * np.linspace(-1, 1, 61) for c, s in zip(centre_um, size_um, strict=True))
    points = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    seen = truth.surface.look(truth.specimen, apply_affine(truth.scan_to_specimen, points))
    return float(np.quantile(seen.points_um[:, 2], 0.9))


def take(
    session: Session,
    fov_um: float,
    dwell_ms: float,
    *,
    centre_um: tuple[float, float] = (0.0, 0.0),
    shape: tuple[int, int] = (512, 512),
    boundaries: bool = False,
) -> Field:
    """Take one frame with the plan, and add the true surface; the instrument must be in mode "fib"."""
    raster = Raster(shape, fov_um, dwell_ms, centre_um)
    before = truth_of(session)
    heights, layer = before.surface.heights_um.copy(), before.surface.deposit_um.copy()
    untouched = replace(before.surface, heights_um=heights, deposit_um=layer)
    uid = session.run(
        plans.sims_raster(session.scope, fov_um=fov_um, dwell_ms=dwell_ms, shape=shape, centre_um=centre_um)
    )
    counts, start = read_counts(uid, "sector_counts", session.data)
    after = truth_of(session)
    drift = (after.scan_to_specimen - before.scan_to_specimen)[:, 2] / raster.frame_s
    scan = Scan(raster, before.scan_to_specimen, 0.0, (float(drift[0]), float(drift[1])))
    material, points, flat = look_at(before.specimen, untouched, scan)
    xy = points[..., :2].reshape(-1, 2)
    eroded_um = (untouched.height_at(xy) - after.surface.height_at(xy)).reshape(shape)
    return Field(
        raster,
        counts[0].astype(float),
        tuple(labels_of(start)),
        float(start["impact_energy_kev"]),
        material,
        flat,
        points,
        _boundary_share(before.specimen, untouched, scan) if boundaries else None,
        np.asarray(1e3 * eroded_um, float),
    )


def _boundary_share(specimen: CathodePillar, surface: Surface, scan: Scan) -> NDArray[np.float64]:
    parts = (np.arange(FINE_PARTS) + 0.5) / FINE_PARTS - 0.5
    shares = (look_at(specimen, surface, scan, at)[0] == Material.NCA_BOUNDARY for at in product(parts, parts))
    return np.asarray(sum(shares) / FINE_PARTS**2, float)


def look_at(
    specimen: CathodePillar, surface: Surface, scan: Scan, jitter: tuple[float, float] = (0.0, 0.0)
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """Return materials (row, column), points (row, column, 3) and flatness (row, column) under a scan's pixels.

    ``jitter`` in pixels, columns first.
    """
    shape = scan.raster.shape
    xy = pixel_points(scan, np.broadcast_to(np.asarray(jitter), (*shape, 2)))
    seen = surface.look(specimen, xy.reshape(-1, 2))
    flat = (seen.sky > 0.97) & (seen.cos_tilt > 0.999)
    return seen.codes.reshape(shape), seen.points_um.reshape(*shape, 3), flat.reshape(shape)
