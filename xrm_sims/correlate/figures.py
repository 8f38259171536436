"""Pictures: overlay of CT, SE and SIMS, overview of the CT volume, drift curves, the registration.

All functions return a :class:`matplotlib.figure.Figure` without touching pyplot's state; images are drawn with
``origin="lower"``, in micrometres, each with a scale bar.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import ArrayLike, NDArray

from xrm_sims.correlate.defects import Defect
from xrm_sims.correlate.maps import COLOURS, rgb_composition, slice_in_field, sum_frames
from xrm_sims.correlate.register import Registration
from xrm_sims.correlate.segment import PillarFit, Volume
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Raster

PORE_COLOUR, CRACK_COLOUR = "#ff3b30", "white"
_BAR_STEPS_UM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def save(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a PNG beside its place, flush it to disk and rename it; the path as given is returned."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=".png")
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format="png", dpi=dpi, facecolor=figure.get_facecolor())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def overlay_figure(
    volume: Volume,
    voxel_um: float,
    sims_counts: ArrayLike,
    labels: Sequence[str],
    raster: Raster,
    registration: Registration,
    se_image: ArrayLike | None = None,
    se_raster: tuple[float, tuple[float, float]] | None = None,
    defect: Defect | None = None,
    title: str = "",
) -> Figure:
    """Six panels as in the paper's figure 4: CT slice, SE image, three channels in colour, then single channels.

    ``se_image`` (rows, columns) was taken in the same scan frame with the field of view and centre (um) in
    ``se_raster``; it is cut to the raster's field. All panels show the raster's field.
    """
    maps = sum_frames(sims_counts)
    shown = [n for n in ("7Li", "27Al", "59Co") if n in labels] or list(labels)[:3]
    figure = _figure(10.2, 7.6)
    grid = figure.subplots(2, 3)
    rows, columns = raster.shape
    extent = _field_extent(raster)
    slice_ = slice_in_field(volume, voxel_um, registration.exposed_z_um, registration.sims_to_specimen, (rows, columns))
    low, high = 0.0, float(np.nanpercentile(slice_, 99.5))
    _image(grid[0, 0], slice_, extent, "gray", (low, high))
    _caption(grid[0, 0], "a", f"nanoCT, z = {registration.exposed_z_um:.2f} µm")
    if se_image is not None:
        fov_um, centre_um = se_raster or (raster.fov_um, raster.centre_um)
        se = np.asarray(se_image, dtype=float)
        height = fov_um * se.shape[0] / se.shape[1]
        se_extent = (
            centre_um[0] - fov_um / 2, centre_um[0] + fov_um / 2, centre_um[1] - height / 2, centre_um[1] + height / 2
        )  # fmt: skip
        part = _crop(se, se_extent, extent)
        limits = (float(np.percentile(part, 0.5)), float(np.percentile(part, 99.5)))
        _image(grid[0, 1], se, se_extent, "gray", limits)
        grid[0, 1].set(xlim=extent[:2], ylim=extent[2:])
        _caption(grid[0, 1], "b", "SE")
    else:
        grid[0, 1].text(0.5, 0.5, "no SE image", ha="center", va="center", transform=grid[0, 1].transAxes)
        grid[0, 1].set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")
    grid[0, 2].imshow(rgb_composition(maps, labels), origin="lower", extent=extent, interpolation="nearest")
    grid[0, 2].set(xticks=[], yticks=[])
    _caption(grid[0, 2], "c", "SIMS overlay")
    _legend(grid[0, 2], shown)
    for axes, label, letter in zip(grid[1], shown, "def", strict=False):
        image = maps[list(labels).index(label)]
        top = max(1.0, float(np.percentile(image, 99.8)))
        picture = _image(axes, image, extent, _channel_map(label), (0.0, top))
        _caption(axes, letter, _isotope(label))
        bar = figure.colorbar(picture, ax=axes, orientation="horizontal", fraction=0.045, pad=0.02)
        bar.set_label("counts per pixel", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    for axes in grid.ravel():
        scale_bar(axes)
    if defect is not None:
        at = apply_affine(invert_affine(registration.scan_to_specimen), np.array([defect.centre_um[:2]]))[0]
        for axes in grid.ravel():
            _ring(axes, at, max(0.5 * defect.diameter_um, 0.35), defect.kind)
    note = (
        f"registration: correlation {registration.score:.2f}, stated uncertainty {registration.sigma_nm:.0f} nm at the "
        f"field's corners; field {raster.fov_um:g} µm"
    )
    figure.suptitle(f"{title}\n{note}" if title else note, fontsize=9)
    return figure


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
    """Two horizontal (H1, H2) and two vertical (V1, V2) slices of the volume as in the paper's figure 2.

    Arrows point at pores (red) and cracks (white) that a slice cuts. The planes pass through the chosen defect (H2, V2)
    and half-way elsewhere; the middle column shows where they lie. With ``se_image`` (top view, centred in its scan)
    that is the backdrop of the plan, laid down by the 2 x 3 affine ``se_to_specimen``; otherwise the volume's own
    shadow is.
    """
    array = np.asarray(volume)
    nz, ny, nx = array.shape
    half = np.array([nx, ny, nz]) * voxel_um / 2
    centre = np.array(pillar.centre_um) if pillar else np.zeros(2)
    top = pillar.top_z_um if pillar else half[2]
    focus = np.array(chosen.centre_um) if chosen else np.array([centre[0], centre[1], 0.5 * (top - half[2])])
    # The plain planes go through the middle of the larger part that the chosen ones leave.
    h1 = 0.5 * (focus[2] - half[2] if 2 * focus[2] > top - half[2] else focus[2] + top)
    v1 = 0.5 * (focus[1] + centre[1] + (-1 if focus[1] > centre[1] else 1) * (pillar.radius_um if pillar else half[1]))
    cuts = {"H1": ("z", h1), "V1": ("y", v1), "H2": ("z", focus[2]), "V2": ("y", focus[1])}
    window = 1.06 * (pillar.radius_um if pillar else half[0])
    limits = (centre[0] - window, centre[0] + window), (centre[1] - window, centre[1] + window)
    flat = half[2] / window
    figure = _figure(12.0, 4.0 * (1 + flat) + 0.9)
    grid = figure.subplots(2, 3, height_ratios=(1, flat))
    span = (0.0, float(np.percentile(array, 99.7)))
    for axes, name in ((grid[0, 0], "H1"), (grid[0, 2], "H2"), (grid[1, 0], "V1"), (grid[1, 2], "V2")):
        direction, at_um = cuts[name]
        image, extent = _cut(array, voxel_um, direction, at_um)
        _image(axes, image, extent, "gray", span)
        horizontal = direction == "z"
        axes.set(xlim=limits[0], ylim=limits[1] if horizontal else (-half[2], half[2]))
        _caption(axes, name, f"{'z' if horizontal else 'y'} = {at_um:.2f} µm")
        scale_bar(axes)
        _arrows(axes, defects, direction, at_um)
        if chosen is not None and name in ("H2", "V2"):
            _ring(axes, focus[[0, 1]] if horizontal else focus[[0, 2]], max(chosen.diameter_um, 0.8), chosen.kind)
    _plan(grid[0, 1], array, voxel_um, cuts, (limits[0], limits[1]), se_image, se_fov_um, se_to_specimen)
    _elevation(grid[1, 1], array, voxel_um, cuts, limits[0])
    figure.suptitle("nanoCT   red arrows: micropores, white arrows: cracks", fontsize=9)
    return figure


def drift_figure(
    time_s: ArrayLike, shifts_px: ArrayLike, pixel_um: float, reference: tuple[ArrayLike, ArrayLike] | None = None
) -> Figure:
    """Shifts (n, 2) (row, column) in pixels over the instrument's time, in micrometres at the axis.

    ``reference`` is another series (time_s, shifts_px), drawn as points.
    """
    hours = np.asarray(time_s, dtype=float) / 3600
    shifts = np.asarray(shifts_px, dtype=float)
    if shifts.shape != (hours.size, 2):
        raise ValueError(f"shifts_px: got shape {shifts.shape}, needs ({hours.size}, 2)")
    figure = _figure(8.0, 4.2)
    axes = figure.subplots(2, 1, sharex=True)
    for n, ax, name, colour in zip((0, 1), axes, ("rows (z)", "columns (y)"), ("#0072b2", "#d55e00"), strict=True):
        ax.plot(hours, shifts[:, n] * pixel_um, lw=0.8, color=colour)
        if reference is not None:
            when, where = (np.asarray(a, dtype=float) for a in reference)
            ax.plot(when / 3600, where[:, n] * pixel_um, "o", ms=4, mfc="none", color="black", label="reference images")
        ax.set_ylabel(f"{name}\nshift (µm)")
        ax.grid(alpha=0.3)
        ax.margins(x=0.01)
    if reference is not None:
        axes[0].legend(fontsize=8, frameon=False)
    axes[1].set_xlabel("instrument time (h)")
    return figure


def registration_figure(
    volume: Volume, voxel_um: float, sims_counts: ArrayLike, raster: Raster, registration: Registration
) -> Figure:
    """CT contour of active material on the SIMS map before and after: what the registration did, to the eye."""
    total = np.sqrt(sum_frames(sims_counts).sum(axis=0))
    slice_ = slice_in_field(
        volume, voxel_um, registration.exposed_z_um, registration.sims_to_specimen, (raster.shape[0], raster.shape[1])
    )
    extent = _field_extent(raster)
    level = 0.5 * float(np.nanpercentile(slice_, 95))
    figure = _figure(10.6, 5.4)
    left, right = figure.subplots(1, 2)
    _image(left, total, extent, "viridis", (0.0, float(np.percentile(total, 99.5))))
    _caption(left, "SIMS", "square root of all counts, CT contour")
    _image(right, slice_, extent, "gray", (0.0, float(np.nanpercentile(slice_, 99.5))))
    _caption(right, "CT", f"z = {registration.exposed_z_um:.2f} ± {registration.sigma_z_um:.2f} µm")
    for axes, colour in ((left, "white"), (right, "#ff9f0a")):
        axes.contour(np.nan_to_num(slice_), levels=[level], extent=extent, colors=colour, linewidths=0.8)
        scale_bar(axes)
    figure.suptitle(
        f"rotation {registration.rotation_deg:+.2f}°, scale {registration.scale:.4f}, correlation "
        f"{registration.score:.2f}; stated uncertainty {registration.sigma_nm:.0f} nm, halves disagree by "
        f"{registration.residual_nm:.0f} nm (rms, field's corners)",
        fontsize=9,
    )
    return figure


def scale_bar(axes: Axes, colour: str = "white") -> None:
    """A bar of a round length, about a quarter of the axes' width (micrometres), in the lower right corner."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    width, height = abs(x1 - x0), abs(y1 - y0)
    length = max([s for s in _BAR_STEPS_UM if s <= 0.3 * width], default=_BAR_STEPS_UM[0])
    thick = 0.014 * width
    left, bottom = x0 + 0.95 * width - length, y0 + 0.05 * height
    axes.add_patch(Rectangle((left, bottom), length, thick, facecolor=colour, edgecolor="black", lw=0.5, zorder=5))
    axes.text(
        left + length / 2, bottom + 1.4 * thick, f"{length:g} µm", color=colour, ha="center", va="bottom", fontsize=8,
        zorder=5, path_effects=_outline(),
    )  # fmt: skip


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="compressed", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _image(
    axes: Axes,
    image: NDArray[np.generic],
    extent: tuple[float, float, float, float],
    colours: str | LinearSegmentedColormap,
    limits: tuple[float, float],
):  # type: ignore[no-untyped-def]
    axes.set(xticks=[], yticks=[])
    return axes.imshow(
        image, origin="lower", extent=extent, cmap=colours, vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-9),
        interpolation="nearest",
    )  # fmt: skip


def _field_extent(raster: Raster) -> tuple[float, float, float, float]:
    u, v = raster.centre_um
    half_u, half_v = raster.fov_um / 2, raster.pixel_um * raster.shape[0] / 2
    return (u - half_u, u + half_u, v - half_v, v + half_v)


def _crop(
    image: NDArray[np.float64], has: tuple[float, float, float, float], wants: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    rows, columns = image.shape
    c = np.clip(np.round((np.array(wants[:2]) - has[0]) / (has[1] - has[0]) * columns).astype(int), 0, columns)
    r = np.clip(np.round((np.array(wants[2:]) - has[2]) / (has[3] - has[2]) * rows).astype(int), 0, rows)
    part = image[r[0] : r[1], c[0] : c[1]]
    return part if part.size else image


def _cut(
    array: NDArray[np.generic], voxel_um: float, direction: str, at_um: float
) -> tuple[NDArray[np.generic], tuple[float, float, float, float]]:
    """The nearest slice across z or y, and its extent in um."""
    axis = {"z": 0, "y": 1}[direction]
    n = array.shape[axis]
    index = int(np.clip(round(at_um / voxel_um + (n - 1) / 2), 0, n - 1))
    half = [s * voxel_um / 2 for s in array.shape]
    up = half[1] if axis == 0 else half[0]
    return np.take(array, index, axis=axis), (-half[2], half[2], -up, up)


def _arrows(axes: Axes, defects: Sequence[Defect], direction: str, at_um: float, most: int = 8) -> None:
    """Arrows at the largest defects that the plane cuts."""
    axis = 2 if direction == "z" else 1
    cut = [d for d in defects if abs(d.centre_um[axis] - at_um) < max(0.5 * d.diameter_um, 0.3)]
    for defect in sorted(cut, key=lambda d: d.diameter_um, reverse=True)[:most]:
        x, y = defect.centre_um[0], defect.centre_um[1 if axis == 2 else 2]
        width = abs(np.subtract(*axes.get_xlim()))
        tip, tail = 0.5 * defect.diameter_um * 0.7, 0.085 * width
        way = np.array([1.0, 1.0]) / np.sqrt(2)
        axes.annotate(
            "", xy=np.array([x, y]) + way * tip, xytext=np.array([x, y]) + way * (tip + tail),
            arrowprops={
                "arrowstyle": "-|>", "lw": 1.4, "mutation_scale": 10, "shrinkA": 0, "shrinkB": 0,
                "color": PORE_COLOUR if defect.kind == "pore" else CRACK_COLOUR, "path_effects": _outline(3.0),
            },
            zorder=6, annotation_clip=True,
        )  # fmt: skip


def _plan(axes, array, voxel_um, cuts, limits, se_image, se_fov_um, se_to_specimen):  # type: ignore[no-untyped-def]
    """Top view with the vertical planes drawn in."""
    ny, nx = array.shape[1:]
    extent = (-nx * voxel_um / 2, nx * voxel_um / 2, -ny * voxel_um / 2, ny * voxel_um / 2)
    if se_image is not None and se_fov_um is not None:
        se = np.asarray(se_image, dtype=float)
        height = se_fov_um * se.shape[0] / se.shape[1]
        # A turn of a degree is not seen at this size: only offset and scale are applied.
        corners = np.array([[-se_fov_um, -height], [se_fov_um, height]]) / 2
        (x0, y0), (x1, y1) = corners if se_to_specimen is None else apply_affine(se_to_specimen, corners)
        _image(axes, se, (x0, x1, y0, y1), "gray", (float(np.percentile(se, 0.5)), float(np.percentile(se, 99.5))))
        _caption(axes, "SE", "top view")
    else:
        shadow = array.mean(axis=0)
        _image(axes, shadow, extent, "gray", (0.0, float(np.percentile(shadow, 99.8))))
        _caption(axes, "top", "sum along z")
    axes.set(xlim=limits[0], ylim=limits[1], facecolor="black")
    for name in ("V1", "V2"):
        _plane_line(axes, name, cuts[name][1])
    scale_bar(axes)


def _elevation(axes, array, voxel_um, cuts, limits):  # type: ignore[no-untyped-def]
    """Side view with the horizontal planes drawn in."""
    nz, _, nx = array.shape
    shadow = array.mean(axis=1)
    half = nz * voxel_um / 2
    _image(axes, shadow, (-nx * voxel_um / 2, nx * voxel_um / 2, -half, half), "gray", (0, float(shadow.max())))
    axes.set(xlim=limits, ylim=(-half, half))
    _caption(axes, "side", "sum along y")
    for name in ("H1", "H2"):
        _plane_line(axes, name, cuts[name][1])
    scale_bar(axes)


def _plane_line(axes: Axes, name: str, at: float) -> None:
    axes.axhline(at, color="#ffd60a", lw=1.0, ls="--")
    x0, x1 = axes.get_xlim()
    axes.text(
        x0 + 0.98 * (x1 - x0), at, name, color="#ffd60a", ha="right", va="bottom", fontsize=8, path_effects=_outline()
    )


def _ring(axes: Axes, at: NDArray[np.float64], radius_um: float, kind: str) -> None:
    colour = PORE_COLOUR if kind == "pore" else CRACK_COLOUR
    place = (float(at[0]), float(at[1]))
    axes.add_patch(Circle(place, 1.6 * radius_um, fill=False, ec=colour, lw=1.4, zorder=6, path_effects=_outline(3.0)))


def _caption(axes: Axes, letter: str, text: str) -> None:
    axes.set_title(rf"$\bf{{{letter}}}$  {text}", fontsize=9, loc="left", pad=3)


def _legend(axes: Axes, labels: Sequence[str]) -> None:
    for n, label in enumerate(labels):
        axes.text(
            0.03, 0.96 - 0.07 * n, _isotope(label), color=COLOURS.get(label, (1, 1, 1)), fontsize=10, va="top",
            transform=axes.transAxes, zorder=6, bbox={"facecolor": "black", "alpha": 0.6, "lw": 0, "pad": 1.5},
        )  # fmt: skip


def _isotope(label: str) -> str:
    digits = "".join(ch for ch in label if ch.isdigit())
    return rf"$^{{{digits}}}${label[len(digits) :]}$^+$" if digits and label.startswith(digits) else label


def _channel_map(label: str) -> str | LinearSegmentedColormap:
    """Black to the channel's colour to white, with evenly rising lightness."""
    if label not in COLOURS:
        return "inferno"
    return LinearSegmentedColormap.from_list(label, [(0, 0, 0), COLOURS[label], (1, 1, 1)])


def _outline(width: float = 1.6) -> list[AbstractPathEffect]:
    return [withStroke(linewidth=width, foreground="black")]
