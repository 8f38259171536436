"""How close the X-ray target comes to what carries the specimen, anywhere along a move.

The target is a bar: a square face of edge ``tip_um`` at its tip, and behind it the arm, straight back along -x to its
manipulator. What turns with the specimen are upright cylinders about the rotation axis, from which everything is
counted here: a move of the stage is then a move of the target the other way. Drawing the bar straight back sweeps
nothing that it did not fill before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xrm_sims.settings import Settings

Point = tuple[float, float, float]
_PEAK_PER_RMS = 6.0  # of a run-out of 8 harmonics in x and y: 2 sqrt(8) by Cauchy-Schwarz


@dataclass(frozen=True)
class Cylinder:
    """Upright, about the rotation axis, from far below up to ``top_um``."""

    name: str
    radius_um: float
    top_um: float


def swept_cylinders(settings: Settings) -> tuple[Cylinder, ...]:
    """What turns with the specimen and stands above the disk, run-out included."""
    specimen = settings.specimen
    runout_um = _PEAK_PER_RMS * 1e-3 * settings.motion.runout_nm
    foot_um = specimen.top_um - specimen.height_um
    collar_um = foot_um + specimen.deposit_height_um
    return (
        Cylinder("pillar", 0.5 * specimen.diameter_um + runout_um, specimen.top_um + runout_um),
        Cylinder("deposit", 0.5 * specimen.deposit_diameter_um + runout_um, collar_um + runout_um),
        Cylinder("pedestal", 0.5 * specimen.pedestal_um + runout_um, foot_um + runout_um),
    )


def bar_to_axis_um(start: Point, end: Point, ceiling_um: float, tip_um: float) -> float:
    """Smallest horizontal distance between axis and bar on the part of a straight path with its underside below a
    ceiling; infinite when all of the path runs above it.

    The square of the distance, min(x, 0)^2 + max(|y| - tip / 2, 0)^2, is convex along the path and quadratic between
    the kinks at x = 0 and y = +-tip / 2: its minimum lies at an end, at a kink or at the vertex of a piece.
    """
    half_um = 0.5 * tip_um
    (x, y, z), (dx, dy, dz) = start, (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    low, high = 0.0, 1.0
    if dz == 0:
        if z - half_um > ceiling_um:
            return math.inf
    else:
        crossing = (ceiling_um - (z - half_um)) / dz
        low, high = (max(low, crossing), high) if dz < 0 else (low, min(high, crossing))
        if low > high:
            return math.inf
    candidates, square = [low, high], dx * dx + dy * dy
    if dx:
        candidates.append(-x / dx)
    for edge_um in (-half_um, half_um):
        if dy:
            candidates.append((edge_um - y) / dy)
        if square:
            candidates.append(-(x * dx + (y - edge_um) * dy) / square)
    at = (min(max(share, low), high) for share in candidates)
    return min(math.hypot(min(x + t * dx, 0.0), max(abs(y + t * dy) - half_um, 0.0)) for t in at)


def gaps_um(start: Point, end: Point, settings: Settings) -> list[tuple[str, float]]:
    """How much room the bar leaves beside each cylinder on a straight path: (name, gap), infinite when it stays above.

    "Above" is more than the clearance over the cylinder's top.
    """
    target = settings.target
    return [
        (c.name, bar_to_axis_um(start, end, c.top_um + target.clearance_um, target.tip_um) - c.radius_um)
        for c in swept_cylinders(settings)
    ]


def height_over_disk_um(at: Point, settings: Settings) -> float:
    """From the disk's surface, level, up to the bar's underside."""
    surface_um = settings.specimen.top_um - settings.specimen.disk_below_top_um
    return at[2] - 0.5 * settings.target.tip_um - surface_um


def tilted_reach_um(settings: Settings) -> float:
    """How far from the laboratory's origin any part of specimen or disk can get by tilting, anywhere on the stage."""
    specimen, stage = settings.specimen, settings.stage
    below_um = specimen.disk_below_top_um - specimen.top_um + specimen.disk_thickness_um
    rim_um = math.hypot(0.5 * specimen.disk_diameter_um, max(below_um, specimen.top_um))
    shift_um = [max(abs(limit) for limit in limits) for limits in (stage.xy_um, stage.xy_um, stage.z_um)]
    return rim_um + math.hypot(*shift_um)


def check_parking(settings: Settings) -> None:
    """ValueError when a tilting stage could reach the parked target."""
    target = settings.target
    needed_um = tilted_reach_um(settings) + target.clearance_um
    if -target.park_x_um < needed_um:
        raise ValueError(
            f"target.park_x_um: a tilting stage reaches {tilted_reach_um(settings):.0f} um and {target.clearance_um:g} "
            f"um are to stay free, got {target.park_x_um:g} um; park at -{needed_um:.0f} um or further back"
        )
