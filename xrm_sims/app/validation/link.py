"""The row that links CT and SIMS: pores of the tomogram are where the lithium map loses its signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter
from scipy.optimize import minimize

from xrm_sims.app.session.session import Session
from xrm_sims.app.validation import pictures
from xrm_sims.app.validation.fields import Field, mill, take
from xrm_sims.app.validation.laboratory import Laboratory, Tomogram, truth_of
from xrm_sims.app.validation.measured import MappedPore
from xrm_sims.app.validation.rows import Measured, at_most, median_with_sigma, row
from xrm_sims.correlate.volume.defects import find_defects
from xrm_sims.geometry import apply_affine, invert_affine

PORES = 6
DEPTHS_UM = (0.8, 5.0)  # of the pores below the pillar's top
MAX_RADIUS_UM = 15.0  # distance of the pores from the axis
BOX_UM, FIELD_UM, SHAPE = 8.0, 4.0, (192, 192)
DWELL_MS = 0.55
SURROUNDINGS_UM = 0.6  # beyond the pore's rim: compared with it
BLUR_UM = 0.15  # blur of the tomogram, applied to the sharper map


def pores(lab: Laboratory) -> list[MappedPore]:
    """Find pores in the tomogram, mill to the middle of each, the uppermost first, and map it."""
    tomogram, s = lab.tungsten, lab.specimen.settings
    found = find_defects(tomogram.volume, tomogram.voxel_um)
    places = [(np.array(d.centre_um) - [0.0, 0.0, tomogram.raised_um], d) for d in found if d.kind == "pore"]
    reachable = [
        (place, defect.diameter_um)
        for place, defect in places
        if DEPTHS_UM[0] < s.top_um - place[2] < DEPTHS_UM[1]
        and np.hypot(*place[:2]) < MAX_RADIUS_UM
        and defect.diameter_um <= s.pore_diameter_um[1]
    ][:PORES]
    seen = []
    with lab.session("pores") as session:
        mill(session, (1.0, 1.0), (0.0, 0.0), s.top_um)  # a scratch, because the scan's frame changes with the mode
        for place, diameter_um in sorted(reachable, key=lambda entry: -entry[0][2]):
            centre = _in_scan(session, place)
            mill(session, (BOX_UM, BOX_UM), centre, float(place[2]))
            field = take(session, FIELD_UM, DWELL_MS, centre_um=centre, shape=SHAPE)
            seen.append(compare(field, tomogram, place, diameter_um))
    return seen


def _in_scan(session: Session, place_um: NDArray[np.float64]) -> tuple[float, float]:
    u, v = apply_affine(invert_affine(truth_of(session).scan_to_specimen), place_um[None, :2])[0]
    return float(u), float(v)


def compare(field: Field, tomogram: Tomogram, place_um: NDArray[np.float64], diameter_um: float) -> MappedPore:
    """Find the shift of the tomogram's slice that correlates best with the lithium map in a disk around the pore."""
    xy = field.points_um[..., :2]
    plane_um = float(np.median(field.points_um[..., 2][field.flat])) if field.flat.any() else float(place_um[2])
    lithium = gaussian_filter(field.channel("7Li"), BLUR_UM / field.raster.pixel_um)
    disk = np.hypot(*np.moveaxis(xy - place_um[:2], -1, 0)) < 0.5 * diameter_um + SURROUNDINGS_UM
    heights = np.full((*xy.shape[:2], 1), plane_um)
    splines = spline_filter(tomogram.volume, order=3, mode="mirror")

    def slice_at(shift_um: NDArray[np.float64]) -> NDArray[np.float64]:
        points = np.concatenate([xy - shift_um, heights], axis=-1).reshape(-1, 3)
        values = map_coordinates(splines, tomogram.indices(points), order=3, mode="mirror", prefilter=False)
        return np.asarray(values, float).reshape(xy.shape[:2])

    def negative_correlation(shift_um: NDArray[np.float64]) -> float:
        return -float(np.corrcoef(slice_at(shift_um)[disk], lithium[disk])[0, 1])

    best = minimize(
        negative_correlation, np.zeros(2), method="Nelder-Mead", options={"initial_simplex": _simplex(), "xatol": 1e-3}
    )
    away = np.hypot(*np.moveaxis(xy - place_um[:2] - best.x, -1, 0)) - 0.5 * diameter_um
    middle, around = away < -0.25 * diameter_um, (away > 0.5 * SURROUNDINGS_UM) & (away < SURROUNDINGS_UM)
    counts = field.channel("7Li")
    left = float(counts[middle].mean() / np.median(counts[around]))
    return MappedPore(
        field, slice_at(np.zeros(2)), place_um[:2], diameter_um, np.asarray(best.x), -float(best.fun), left
    )


def _simplex() -> NDArray[np.float64]:
    return 0.1 * np.array([[-0.5, -0.3], [0.5, -0.3], [0.0, 0.6]])


@row("CT and SIMS show one specimen: median distance of pores in CT and SIMS", at_most(50.0), "nm", seconds=60)
def pore_and_signal(lab: Laboratory) -> Measured:
    seen = lab.once(pores)
    if seen:
        lab.picture("pores", pictures.pores_figure(seen))
    shifts = 1e3 * np.array([entry.shift_um for entry in seen]).reshape(-1, 2)
    each = "; ".join(
        f"{entry.diameter_um:.2f} um: {shift[0]:+.0f}, {shift[1]:+.0f} nm ({entry.left:.0%} of the lithium "
        f"around it, correlation {entry.correlation:.2f})"
        for entry, shift in zip(seen, shifts, strict=True)
    )
    figure, sigma = median_with_sigma(np.hypot(*shifts.T))
    largest_um = lab.specimen.settings.pore_diameter_um[1]
    together = np.hypot(*shifts.mean(axis=0)) if len(seen) else float("nan")
    return Measured(
        figure,
        sigma,
        f"{len(seen)} pores up to {largest_um:g} um (the specimen's largest), found in the tomogram of "
        f"{1e3 * lab.tungsten.voxel_um:.0f} nm voxels, milled to their middles, placed by the true scan frame, none "
        f"left out; uncertainty of the median by resampling; the mean shift is {together:.0f} nm. {each}",
    )
