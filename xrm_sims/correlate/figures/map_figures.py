"""Figures of a SIMS map: overlay with CT and SE, registration, channels, isotope ratios, depth profiles.

All functions return a :class:`matplotlib.figure.Figure` and do not use pyplot's state. Images are drawn with
``origin="lower"``, in micrometres, each with a scale bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from xrm_sims.correlate.figures.drawing import (
    Extent,
    caption,
    colour_bar,
    image_in,
    new_figure,
    no_data,
    outline,
    panel,
    ring,
    scale_bar,
    up_to,
)
from xrm_sims.correlate.maps.depth import DepthProfile
from xrm_sims.correlate.maps.field_maps import COLOURS, rgb_composition, slice_in_field, sum_frames
from xrm_sims.correlate.maps.isotopes import Departures, RatioMap
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.segment import Volume
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Raster


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
    """Draw six panels as in the paper's figure 4: CT slice, SE image, three channels in colour, then single channels.

    ``se_image`` (rows, columns) was taken in the same scan frame with the field of view and centre (um) in
    ``se_raster``; it is cut to the raster's field. All panels show the raster's field.
    """
    maps = sum_frames(sims_counts)
    shown = [n for n in ("7Li", "27Al", "59Co") if n in labels] or list(labels)[:3]
    figure = new_figure(10.2, 7.6)
    grid = figure.subplots(2, 3)
    extent = field_extent(raster)
    slice_ = registered_slice(volume, voxel_um, raster, registration)
    panel(grid[0, 0], "a", f"nanoCT, z = {registration.exposed_z_um:.2f} µm", slice_, extent, "gray",
          up_to(slice_, 99.5))  # fmt: skip
    if se_image is not None:
        fov_um, (u, v) = se_raster or (raster.fov_um, raster.centre_um)
        se = np.asarray(se_image, dtype=float)
        height = fov_um * se.shape[0] / se.shape[1]
        se_extent = (u - fov_um / 2, u + fov_um / 2, v - height / 2, v + height / 2)
        low, high = np.percentile(_crop(se, se_extent, extent), (0.5, 99.5))
        image_in(grid[0, 1], se, se_extent, "gray", (float(low), float(high)))
        caption(grid[0, 1], "b", "SE")
    else:
        no_data(grid[0, 1], "no SE image")
        grid[0, 1].set(aspect="equal")
    grid[0, 1].set(xlim=extent[:2], ylim=extent[2:])
    grid[0, 2].imshow(rgb_composition(maps, labels), origin="lower", extent=extent, interpolation="nearest")
    grid[0, 2].set(xticks=[], yticks=[])
    caption(grid[0, 2], "c", "SIMS overlay")
    _legend(grid[0, 2], shown)
    for axes in grid[0, 1:]:
        scale_bar(axes)
    for axes, label, letter in zip(grid[1], shown, "def", strict=False):
        image = maps[list(labels).index(label)]
        drawn = panel(axes, letter, isotope(label), image, extent, _channel_map(label), up_to(image, 99.8, 1.0))
        colour_bar(drawn, axes, "counts per pixel", orientation="horizontal")
    if defect is not None:
        at = apply_affine(invert_affine(registration.scan_to_specimen), np.array([defect.centre_um[:2]]))[0]
        for axes in grid.ravel():
            ring(axes, at, max(0.5 * defect.diameter_um, 0.35), defect.kind)
    note = (
        f"registration: correlation {registration.score:.2f}, stated uncertainty {registration.sigma_nm:.0f} nm at the "
        f"field's corners; field {raster.fov_um:g} µm"
    )
    figure.suptitle(f"{title}\n{note}" if title else note, fontsize=9)
    return figure


def registration_figure(
    volume: Volume,
    voxel_um: float,
    sims_counts: ArrayLike,
    raster: Raster,
    registration: Registration,
    what: str = "SIMS",
) -> Figure:
    """Draw the CT contour of active material on the map (or image ``what``), and beside it on the CT slice."""
    total = np.sqrt(sum_frames(sims_counts).sum(axis=0))
    slice_ = registered_slice(volume, voxel_um, raster, registration)
    extent = field_extent(raster)
    figure = new_figure(10.6, 5.4)
    left, right = figure.subplots(1, 2)
    panel(left, what, "square root of counts, CT contour", total, extent, "viridis", up_to(total, 99.5))
    place = f"z = {registration.exposed_z_um:.2f} ± {registration.sigma_z_um:.2f} µm"
    panel(right, "CT", place, slice_, extent, "gray", up_to(slice_, 99.5))
    ct_contour(left, slice_, extent, linewidths=0.8)
    ct_contour(right, slice_, extent, colors="#ff9f0a", linewidths=0.8)
    figure.suptitle(
        f"rotation {registration.rotation_deg:+.2f}°, scale {registration.scale:.4f}, correlation "
        f"{registration.score:.2f}; stated uncertainty {registration.sigma_nm:.0f} nm, halves disagree by "
        f"{registration.residual_nm:.0f} nm (rms, field's corners)",
        fontsize=9,
    )
    return figure


def channels_figure(
    sims_counts: ArrayLike, labels: Sequence[str], raster: Raster, errors: Sequence[float] | None = None
) -> Figure:
    """Draw every channel with its own scale in counts per pixel (summed over frames).

    ``errors`` (channel,) are the standard errors of the sums over the field, if known.
    """
    maps = sum_frames(sims_counts)
    columns = min(len(maps), 2)
    rows = -(-len(maps) // columns)
    figure = new_figure(4.6 * columns + 0.2, 4.0 * rows + 0.1)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for n, (axes, label, image) in enumerate(zip(grid, labels, maps, strict=False)):
        shown = image_in(axes, image, field_extent(raster), "viridis", up_to(image, 99.8, 1.0))
        known = "" if errors is None else f" ± {errors[n]:,.0f}"
        axes.set_title(f"{isotope(label)}, {image.sum():,.0f}{known} counts", fontsize=9, loc="left")
        colour_bar(shown, axes, "counts per pixel")
        scale_bar(axes)
    for axes in grid[len(maps) :]:
        axes.set_axis_off()
    return figure


def ratio_figure(found: RatioMap, departures: Departures, name: str, natural: float | None, raster: Raster) -> Figure:
    """Draw the ratio ``name`` of two isotopes, deviating regions outlined and numbered, beside its relative error.

    Pixels that are NaN stay grey.
    """
    figure = new_figure(10.4, 4.7)
    extent = field_extent(raster)
    light, heavy = (isotope(label) for label in name.split("/"))
    for axes, letter, image, words in zip(
        figure.subplots(1, 2),
        "ab",
        (found.ratio, 100 * found.sigma / found.ratio),
        ("", ", standard error (%)"),
        strict=True,
    ):
        axes.set_facecolor("0.6")
        low, high = np.nanpercentile(image, (0.5, 99.5)) if np.isfinite(image).any() else (0.0, 1.0)
        colours = "viridis" if letter == "a" else "cividis"
        drawn = panel(axes, letter, f"{light} / {heavy}{words}", image, extent, colours, (float(low), float(high)))
        colour_bar(drawn, axes)
        if departures.regions:
            axes.contour(departures.numbers > 0, levels=[0.5], extent=extent, colors="white", linewidths=1.0)
    for region in departures.regions:
        figure.axes[0].annotate(
            str(region.number), (region.u_um, region.v_um), color="white", fontsize=8, ha="center", va="center",
            path_effects=outline(),
        )  # fmt: skip
    rest = departures.rest
    nature = "" if natural is None else f" (natural {natural:.4f})"
    figure.suptitle(
        f"rest of the field {rest.value:.5f} ± {rest.sigma:.5f}{nature}; deviating regions: {len(departures.regions)}",
        fontsize=9,
    )
    return figure


def profile_figure(profiles: Mapping[str, DepthProfile]) -> Figure:
    """Plot ions per pixel against depth with their errors, one panel for each named profile.

    The bar at the top shows the uncertainty of the last depth.
    """
    figure = new_figure(4.8 * len(profiles) + 0.4, 4.2)
    for axes, (name, profile) in zip(
        figure.subplots(1, len(profiles), squeeze=False, sharex=True).ravel(), profiles.items(), strict=True
    ):
        depth_nm, sigma_nm = 1e3 * profile.scale.depth_um, 1e3 * profile.scale.sigma_um
        for n, label in enumerate(profile.labels):
            number, error = profile.per_pixel.number[:, n], profile.per_pixel.error[:, n]
            axes.errorbar(depth_nm, number, error, fmt=".-", lw=0.8, capsize=1.5, label=isotope(label))
        axes.set_yscale("log", nonpositive="mask")
        axes.errorbar(depth_nm[-1], 0.97, xerr=sigma_nm[-1], fmt="none", ecolor="0.4", capsize=3,
                      transform=axes.get_xaxis_transform())  # fmt: skip
        axes.set(xlabel="depth (nm)", ylabel="ions per pixel and frame")
        axes.set_title(f"{name}, {profile.pixels:,} pixels", fontsize=9, loc="left")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def registered_slice(
    volume: Volume, voxel_um: float, raster: Raster, registration: Registration
) -> NDArray[np.float32]:
    """Return the CT slice at the exposed height on the pixels (row, column) of a registered raster."""
    shape = (raster.shape[0], raster.shape[1])
    return slice_in_field(volume, voxel_um, registration.exposed_z_um, registration.sims_to_specimen, shape)


def ct_contour(axes: Axes, slice_: NDArray[np.float32], extent: Extent, colors: str = "white", **lines: Any) -> None:
    """Outline active material of a CT slice (row, column), at half of its grey level."""
    level = 0.5 * float(np.nanpercentile(slice_, 95))
    axes.contour(np.nan_to_num(slice_), levels=[level], extent=extent, colors=colors, **lines)


def field_extent(raster: Raster) -> Extent:
    """Return the extent of a raster in scan coordinates, um."""
    u, v = raster.centre_um
    half_u, half_v = raster.fov_um / 2, raster.pixel_um * raster.shape[0] / 2
    return (u - half_u, u + half_u, v - half_v, v + half_v)


def _crop(image: NDArray[np.float64], has: Extent, wants: Extent) -> NDArray[np.float64]:
    """Cut the pixels of ``wants`` out of an image with the extent ``has``; the whole image if there are none."""
    rows, columns = image.shape
    c = np.clip(np.round((np.array(wants[:2]) - has[0]) / (has[1] - has[0]) * columns).astype(int), 0, columns)
    r = np.clip(np.round((np.array(wants[2:]) - has[2]) / (has[3] - has[2]) * rows).astype(int), 0, rows)
    part = image[r[0] : r[1], c[0] : c[1]]
    return part if part.size else image


def _legend(axes: Axes, labels: Sequence[str]) -> None:
    for n, label in enumerate(labels):
        axes.text(
            0.03, 0.96 - 0.07 * n, isotope(label), color=COLOURS.get(label, (1, 1, 1)), fontsize=10, va="top",
            transform=axes.transAxes, zorder=6, bbox={"facecolor": "black", "alpha": 1.0, "lw": 0, "pad": 1.5},
        )  # fmt: skip


def isotope(label: str) -> str:
    """Return a label such as 59Co with a raised mass number, in matplotlib's mathtext."""
    digits = "".join(ch for ch in label if ch.isdigit())
    return rf"$^{{{digits}}}${label[len(digits) :]}$^+$" if digits and label.startswith(digits) else label


def _channel_map(label: str) -> str | LinearSegmentedColormap:
    """Return colours from black through the channel's colour to white, of evenly rising lightness."""
    if label not in COLOURS:
        return "inferno"
    return LinearSegmentedColormap.from_list(label, [(0, 0, 0), COLOURS[label], (1, 1, 1)])
