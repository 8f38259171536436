"""Distances between the X-ray target and the rotating specimen along a move.

The target is a bar along x: a square face of edge ``tip_um`` at its tip, and the arm behind it, back to the
manipulator at -x. The specimen and its support are upright cylinders about the rotation axis. Positions are relative
to this axis, so that a move of the stage is a move of the target in the opposite direction. Moving the bar straight
back never enters new space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xrm_sims.settings import Settings

Point = tuple[float, float, float]
_PEAK_PER_RMS = 6.0  # of a run-out of 8 harmonics in x and y: at most 2 sqrt(8) by Cauchy-Schwarz


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder about the rotation axis, up to ``top_um``."""

    name: str
    radius_um: float
    top_um: float


def swept_cylinders(settings: Settings) -> tuple[Cylinder, ...]:
    """Return the cylinders above the disk that rotate with the specimen, run-out included."""
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
    """Return the smallest horizontal distance between axis and bar on a straight path.

    Only the part of the path counts where the bar's underside is below ``ceiling_um``; infinite when there is none.
    The squared distance min(x, 0)^2 + max(|y| - tip / 2, 0)^2 is convex along the path and quadratic between the kinks
    at x = 0 and y = +-tip / 2, so its minimum is at an end, at a kink or at the vertex of a piece.
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
    """Return (name, gap) between the bar and each cylinder on a straight path.

    The gap is infinite when the bar stays more than the clearance above the cylinder's top.
    """
    target = settings.target
    return [
        (c.name, bar_to_axis_um(start, end, c.top_um + target.clearance_um, target.tip_um) - c.radius_um)
        for c in swept_cylinders(settings)
    ]


def height_over_disk_um(at: Point, settings: Settings) -> float:
    """Return the height of the bar's underside above the surface of the level disk."""
    surface_um = settings.specimen.top_um - settings.specimen.disk_below_top_um
    return at[2] - 0.5 * settings.target.tip_um - surface_um


def tilted_reach_um(settings: Settings) -> float:
    """Return the largest distance from the laboratory's origin that specimen or disk can reach by tilting."""
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
            f"target.park_x_um: a tilting stage reaches {tilted_reach_um(settings):.0f} um and needs a clearance of "
            f"{target.clearance_um:g} um, got {target.park_x_um:g} um; park at -{needed_um:.0f} um or further back"
        )
