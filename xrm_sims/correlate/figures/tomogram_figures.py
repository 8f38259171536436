"""Figures of one tomogram: slices through the volume, and the drift that was corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from xrm_sims.correlate.figures.drawing import (
    CRACK_COLOUR,
    LCO_COLOUR,
    NCA_COLOUR,
    PORE_COLOUR,
    Extent,
    caption,
    centred,
    colour_bar,
    image_in,
    new_figure,
    outline,
    ring,
    scale_bar,
    up_to,
)
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.segment import PillarFit, Volume
from xrm_sims.geometry import Geometry, apply_affine

Cuts = Mapping[str, tuple[str, float]]  # name of a plane: axis across it ("z" or "y") and its place on it in um
LEVEL_SAMPLES = 2_000_000  # voxels from which the grey scale is taken: reading all of a large volume takes seconds


def overview_figure(
    volume: Volume,
    voxel_um: float,
    defects: Sequence[Defect] = (),
    pillar: PillarFit | None = None,
    chosen: Defect | None = None,
    se_image: ArrayLike | None = None,
    se_fov_um: float | None = None,
    se_to_specimen: ArrayLike | None = None,
) -> Figure:
    """Draw two horizontal (H1, H2) and two vertical (V1, V2) slices of the volume as in the paper's figure 2.

    Arrows with numbers point at pores (red) and cracks (white) that a slice cuts. H2 and V2 pass through the chosen
    defect, H1 and V1 elsewhere; the middle column shows where the planes lie. The plan is drawn on ``se_image`` (top
    view, centred in its scan), placed by the 2 x 3 affine ``se_to_specimen``, or else on the sum of the volume along z.
    """
    array = np.asarray(volume)
    nz, ny, nx = array.shape
    half = np.array([nx, ny, nz]) * voxel_um / 2
    centre = np.array(pillar.centre_um) if pillar else np.zeros(2)
    top = pillar.top_z_um if pillar else half[2]
    focus = np.array(chosen.centre_um) if chosen else np.array([centre[0], centre[1], 0.5 * (top - half[2])])
    # H1 and V1 go through the middle of the larger part that H2 and V2 leave
    h1 = 0.5 * (focus[2] - half[2] if 2 * focus[2] > top - half[2] else focus[2] + top)
    v1 = 0.5 * (focus[1] + centre[1] + (-1 if focus[1] > centre[1] else 1) * (pillar.radius_um if pillar else half[1]))
    cuts = {"H1": ("z", h1), "V1": ("y", v1), "H2": ("z", focus[2]), "V2": ("y", focus[1])}
    window = 1.06 * (pillar.radius_um if pillar else half[0])
    limits = (centre[0] - window, centre[0] + window), (centre[1] - window, centre[1] + window)
    flat = half[2] / window
    figure = new_figure(12.0, 4.0 * (1 + flat) + 0.9)
    grid = figure.subplots(2, 3, height_ratios=(1, flat))
    span = up_to(array.ravel()[:: max(1, array.size // LEVEL_SAMPLES)], 99.7)
    for axes, name in ((grid[0, 0], "H1"), (grid[0, 2], "H2"), (grid[1, 0], "V1"), (grid[1, 2], "V2")):
        direction, at_um = cuts[name]
        image, extent = _cut(array, voxel_um, direction, at_um)
        picture = image_in(axes, image, extent, "gray", span)
        horizontal = direction == "z"
        axes.set(xlim=limits[0], ylim=limits[1] if horizontal else (-half[2], half[2]))
        caption(axes, name, f"{'z' if horizontal else 'y'} = {at_um:z.2f} µm")
        scale_bar(axes)
        _arrows(axes, defects, direction, at_um)
        if chosen is not None and name in ("H2", "V2"):
            ring(axes, focus[[0, 1]] if horizontal else focus[[0, 2]], max(chosen.diameter_um, 0.8), chosen.kind)
    _plan(grid[0, 1], array, voxel_um, cuts, limits, se_image, se_fov_um, se_to_specimen)
    _elevation(grid[1, 1], array, voxel_um, cuts, limits[0])
    colour_bar(picture, grid, "attenuation (1/µm)", orientation="horizontal", fraction=0.03, shrink=0.3)
    arrows = "   red arrows: micropores, white arrows: cracks" if len(defects) else ""
    figure.suptitle(f"nanoCT, voxels of {1e3 * voxel_um:.0f} nm{arrows}", fontsize=9)
    return figure


def drift_figure(geometry: Geometry, time_s: ArrayLike) -> Figure:
    """Plot the motion that the geometry correction found, in pixels and in micrometres at the specimen.

    Above, the displacement of each view over the instrument's time (n,) with a cubic through it, the slow drift; below,
    the displacement less that cubic over the rotation, since run-out repeats with the angle. A third panel shows the
    magnification of each view if it was corrected; the title gives axis offset and detector roll.

    Raises ValueError for a geometry without shifts, and unless there is one time per view.
    """
    shifts = geometry.view_shifts_px
    hours = np.asarray(time_s, dtype=float) / 3600
    if shifts is None:
        raise ValueError("geometry: has no view_shifts_px; correct it first")
    if hours.shape != (geometry.num_views,):
        raise ValueError(f"time_s: got shape {hours.shape}, needs ({geometry.num_views},), one per view")
    early = np.argsort(hours)
    since = (hours - hours[early[0]]) / max(float(np.ptp(hours)), 1e-9)
    powers = np.vander(since, min(4, geometry.num_views))
    drift = powers @ np.linalg.lstsq(powers, shifts, rcond=None)[0]
    pixel_um = geometry.pixel_mm * 1e3 / geometry.magnification
    panels = 2 if geometry.view_scale is None else 3
    figure = new_figure(8.0, 1.0 + 2.4 * panels)
    axes = figure.subplots(panels, 1)
    for n, (name, colour) in enumerate((("rows (z)", LCO_COLOUR), ("columns (y)", NCA_COLOUR))):
        left = shifts[:, n] - drift[:, n]
        rms = float(np.sqrt((left**2).mean()))
        axes[0].plot(hours, shifts[:, n], ".", ms=2.5, color=colour, label=name)
        axes[0].plot(hours[early], drift[early, n], lw=1.0, color=colour, alpha=0.7)
        label = f"{name}: rms {rms:.2f} px = {rms * pixel_um * 1e3:.0f} nm"
        axes[1].plot(geometry.angles_deg, left, ".", ms=2.5, color=colour, label=label)
    axes[0].set(xlabel="instrument time (h)", ylabel="shift (px)")
    axes[1].set(xlabel="rotation (deg)", ylabel="shift less drift (px)")
    for ax in axes[:2]:
        ax.secondary_yaxis("right", functions=(lambda y: y * pixel_um, lambda y: y / pixel_um)).set_ylabel("(µm)")
        ax.legend(fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, frameon=False)
    if geometry.view_scale is not None:
        axes[2].plot(hours, 100 * (geometry.view_scale - 1), ".", ms=2.5, color="black")
        axes[2].set(xlabel="instrument time (h)", ylabel="magnification (%)")
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.margins(x=0.01)
    figure.suptitle(
        f"rotation axis offset {geometry.axis_offset_um:+z.2f} µm, "
        f"detector roll {geometry.detector_roll_deg:+z.2f}°"
        f"{'' if geometry.view_scale is not None else ', magnification as built'}",
        fontsize=9,
    )
    return figure


def _cut(
    array: NDArray[np.generic], voxel_um: float, direction: str, at_um: float
) -> tuple[NDArray[np.generic], Extent]:
    """Return the nearest slice across z or y, and its extent in um."""
    axis = {"z": 0, "y": 1}[direction]
    n = array.shape[axis]
    index = int(np.clip(round(at_um / voxel_um + (n - 1) / 2), 0, n - 1))
    image = np.take(array, index, axis=axis)
    return image, centred(image.shape[1] * voxel_um, image.shape[0] * voxel_um)


def _arrows(axes: Axes, defects: Sequence[Defect], direction: str, at_um: float, most: int = 8) -> None:
    """Point numbered arrows at the largest defects that the plane cuts."""
    axis = 2 if direction == "z" else 1
    cut = [d for d in defects if abs(d.centre_um[axis] - at_um) < max(0.5 * d.diameter_um, 0.3)]
    for defect in sorted(cut, key=lambda d: d.diameter_um, reverse=True)[:most]:
        x, y = defect.centre_um[0], defect.centre_um[1 if axis == 2 else 2]
        right, top = max(axes.get_xlim()), max(axes.get_ylim())
        width = abs(np.subtract(*axes.get_xlim()))
        tip, tail = 0.5 * defect.diameter_um * 0.7, 0.085 * width
        room = tip + tail + 0.03 * width  # for the number, which would be cut off at the edge
        way = np.array([1.0 if x + room < right else -1.0, 1.0 if y + room < top else -1.0]) / np.sqrt(2)
        colour = PORE_COLOUR if defect.kind == "pore" else CRACK_COLOUR
        end = np.array([x, y]) + way * (tip + tail)
        axes.annotate(
            "", xy=np.array([x, y]) + way * tip, xytext=end,
            arrowprops={
                "arrowstyle": "-|>", "lw": 1.4, "mutation_scale": 10, "shrinkA": 0, "shrinkB": 0,
                "color": colour, "path_effects": outline(3.0),
            },
            zorder=6, annotation_clip=True,
        )  # fmt: skip
        axes.text(
            end[0], end[1], str(defect.label), color=colour, fontsize=8, ha="left" if way[0] > 0 else "right",
            va="bottom" if way[1] > 0 else "top", zorder=7, path_effects=outline(), clip_on=True,
        )  # fmt: skip


def _plan(
    axes: Axes,
    array: NDArray[Any],
    voxel_um: float,
    cuts: Cuts,
    limits: tuple[tuple[float, float], tuple[float, float]],
    se_image: ArrayLike | None,
    se_fov_um: float | None,
    se_to_specimen: ArrayLike | None,
) -> None:
    """Draw the top view with the vertical planes in it."""
    if se_image is not None and se_fov_um is not None:
        se = np.asarray(se_image, dtype=float)
        height = se_fov_um * se.shape[0] / se.shape[1]
        # a rotation by a degree is invisible at this size: only offset and scale are applied
        corners = np.array([[-se_fov_um, -height], [se_fov_um, height]]) / 2
        (x0, y0), (x1, y1) = corners if se_to_specimen is None else apply_affine(se_to_specimen, corners)
        image_in(axes, se, (x0, x1, y0, y1), "gray", (float(np.percentile(se, 0.5)), float(np.percentile(se, 99.5))))
        caption(axes, "SE", "top view")
    else:
        shadow = array.mean(axis=0)
        extent = centred(array.shape[2] * voxel_um, array.shape[1] * voxel_um)
        image_in(axes, shadow, extent, "gray", up_to(shadow, 99.8))
        caption(axes, "top", "mean along z")
    axes.set(xlim=limits[0], ylim=limits[1], facecolor="black")
    for name in ("V1", "V2"):
        _plane_line(axes, name, cuts[name][1])
    scale_bar(axes)


def _elevation(axes: Axes, array: NDArray[Any], voxel_um: float, cuts: Cuts, limits: tuple[float, float]) -> None:
    """Draw the side view with the horizontal planes in it."""
    shadow = array.mean(axis=1)
    extent = centred(array.shape[2] * voxel_um, array.shape[0] * voxel_um)
    image_in(axes, shadow, extent, "gray", (0.0, float(shadow.max())))
    axes.set(xlim=limits, ylim=extent[2:])
    caption(axes, "side", "mean along y")
    for name in ("H1", "H2"):
        _plane_line(axes, name, cuts[name][1])
    scale_bar(axes)


def _plane_line(axes: Axes, name: str, at: float) -> None:
    axes.axhline(at, color="#ffd60a", lw=1.0, ls="--")
    x0, x1 = axes.get_xlim()
    axes.text(
        x0 + 0.98 * (x1 - x0), at, name, color="#ffd60a", ha="right", va="bottom", fontsize=8, path_effects=outline()
    )
