"""Pictures of the validation: images in micrometres with scale bars and uniform maps, curves with their limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

import recon
from xrm_sims.correlate.figures.drawing import caption, image_in, new_figure, scale_bar
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material

if TYPE_CHECKING:
    from xrm_sims.app.validation.fields import Field
    from xrm_sims.app.validation.laboratory import Tomogram
    from xrm_sims.app.validation.measured import Image, Seen, Voxels

LCO, NCA = "#0072b2", "#d55e00"  # told apart by everybody
MAP = "viridis"
PILLAR = {
    Material.VACUUM: "free space",
    Material.LCO: "LCO",
    Material.NCA: "NCA",
    Material.NCA_BOUNDARY: "its boundaries",
    Material.BINDER: "binder",
}


def radiograph_figure(projections: NDArray[np.float64], flat: NDArray[np.float64], settings: Settings) -> Figure:
    """Transmission of the first views."""
    figure = new_figure(10.0, 6.0)
    rows, columns = flat.shape
    for axes, image, letter in zip(figure.subplots(3, 1), projections, "abc", strict=False):
        shown = image / np.maximum(flat, 1)
        extent = _extent(columns * settings.voxel_um, rows * settings.voxel_um)
        picture = image_in(axes, shown, extent, "gray", (0.0, 1.1))
        caption(axes, letter, "transmission")
        scale_bar(axes)
        figure.colorbar(picture, ax=axes, fraction=0.02, pad=0.01)
    return figure


def edge_figure(tomogram: Tomogram, width: recon.EdgeResolution) -> Figure:
    """A slice of the volume, the edge response and its line spread."""
    figure = new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2)
    _slice(left, tomogram, tomogram.raw, "nanoCT")
    curves = width.curves
    right.plot(curves.distance_um, curves.edge_response, ".", ms=2, color="0.5", label="edge response")
    right.plot(
        curves.distance_um, curves.line_spread_per_um / curves.line_spread_per_um.max(), color=LCO, label="line spread"
    )
    right.axhline(0.5, color="0.8", lw=0.8, zorder=0)
    right.set(xlim=(-1.5, 1.5), ylim=(-0.25, 1.25), xlabel="distance from the edge (µm)")
    right.legend(fontsize=8, frameon=False)
    caption(right, "b", f"{1e3 * width.fwhm_um:.0f} ± {1e3 * width.sigma_um:.0f} nm (direct half maximum)")
    return figure


def grey_figure(tomogram: Tomogram, voxels: Voxels, target: str) -> Figure:
    """A slice by filtered back projection, and the grey values in it of both active materials."""
    figure = new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2)
    _slice(left, tomogram, tomogram.raw, f"{target} target")
    both = np.concatenate([voxels.of(Material.LCO), voxels.of(Material.NCA)])
    edges = np.linspace(np.quantile(both, 0.001), np.quantile(both, 0.999), 80)
    for material, colour in ((Material.LCO, LCO), (Material.NCA, NCA)):
        right.hist(voxels.of(material), edges, density=True, histtype="stepfilled", alpha=0.5, color=colour,
                   label=material.name)  # fmt: skip
    right.set(xlabel="attenuation (1/µm)", ylabel="share of voxels (µm)")
    right.legend(fontsize=8, frameon=False)
    caption(right, "b", "grey values of single voxels")
    return figure


def sims_figure(field: Field) -> Figure:
    """All channels of a frame, and what is there by the truth."""
    figure = new_figure(12.0, 8.2)
    grid = figure.subplots(2, 3).ravel()
    width = field.raster.fov_um
    extent = _extent(width, width * field.raster.shape[0] / field.raster.shape[1])
    for axes, image, label, letter in zip(grid, field.counts, field.labels, "abcd", strict=False):
        top = max(1.0, float(np.percentile(image, 99.5)))
        picture = image_in(axes, image, extent, MAP, (0.0, top))
        mass = label.rstrip("LiAlNCoF")
        caption(axes, letter, rf"$^{{{mass}}}${label[len(mass) :]}$^+$")
        bar = figure.colorbar(picture, ax=axes, orientation="horizontal", fraction=0.045, pad=0.02)
        bar.set_label("counts per pixel", fontsize=8)
        scale_bar(axes)
    _materials(grid[4], field.material, extent, "e")
    grid[5].axis("off")
    return figure


def se_figure(image: Image) -> Figure:
    """The SE image beside the materials that are there."""
    figure = new_figure(11.0, 5.6)
    left, right = figure.subplots(1, 2)
    extent = _extent(image.pixel_um * image.counts.shape[1], image.pixel_um * image.counts.shape[0])
    image_in(left, image.counts, extent, "gray", tuple(np.percentile(image.counts, (0.5, 99.5))))  # type: ignore[arg-type]
    caption(left, "a", "secondary electrons")
    scale_bar(left)
    _materials(right, image.material, extent, "b")
    return figure


def eds_figure(image: Image, elements: Sequence[str]) -> Figure:
    """Element maps beside the materials that are there."""
    figure = new_figure(12.0, 8.2)
    grid = figure.subplots(2, 3).ravel()
    extent = _extent(image.pixel_um * image.material.shape[1], image.pixel_um * image.material.shape[0])
    for axes, counts, element, letter in zip(grid, image.counts, elements, "abcde", strict=False):
        picture = image_in(axes, counts, extent, MAP, (0.0, max(1.0, float(np.percentile(counts, 99.5)))))
        caption(axes, letter, element)
        bar = figure.colorbar(picture, ax=axes, orientation="horizontal", fraction=0.045, pad=0.02)
        bar.set_label("counts per pixel", fontsize=8)
        scale_bar(axes)
    _materials(grid[5], image.material, extent, "f")
    return figure


def pores_figure(seen: Sequence[Seen]) -> Figure:
    """Each pore as the tomogram and as the lithium map have it, on the same pixels."""
    figure = new_figure(2.4 * max(len(seen), 2), 5.2)
    grid = figure.subplots(2, len(seen), squeeze=False)
    for (above, below), entry in zip(grid.T, seen, strict=True):
        width = entry.field.raster.fov_um
        extent = _extent(width, width)
        image_in(above, entry.slice_per_um, extent, "gray", (0.0, float(np.percentile(entry.slice_per_um, 99))))
        lithium = entry.field.channel("7Li")
        image_in(below, lithium, extent, MAP, (0.0, float(np.percentile(lithium, 99))))
        shift = 1e3 * entry.shift_um
        above.set_title("nanoCT", fontsize=8)
        below.set_title(rf"$^7$Li$^+$, {shift[0]:+.0f}, {shift[1]:+.0f} nm", fontsize=8)
        for axes in (above, below):
            axes.plot(0, 0, "+", color="#ff3b30", ms=10)
            scale_bar(axes)
    return figure


def _slice(axes: Axes, tomogram: Tomogram, volume: NDArray[np.float32], said: str) -> None:
    """A horizontal slice of one of its volumes below the middle."""
    k = len(volume) // 3
    image = volume[k]
    side = tomogram.voxel_um * np.array(image.shape)
    image_in(axes, image, _extent(side[1], side[0]), "gray", (0.0, float(np.percentile(image, 99.8))))
    caption(axes, "a", f"{said}, z = {tomogram.z_um[k]:z.2f} µm, voxels of {1e3 * tomogram.voxel_um:.0f} nm")
    scale_bar(axes)


def _materials(axes: Axes, material: NDArray[np.uint8], extent: tuple[float, float, float, float], letter: str) -> None:
    """What is there by the truth, one shade for each material."""
    here = [m for m in PILLAR if (material == m).any()]
    image_in(axes, np.minimum(material, Material.BINDER), extent, "cividis", (0.0, float(Material.BINDER)))
    shades = colormaps["cividis"](np.array(list(PILLAR)) / Material.BINDER)
    patches = [Patch(color=tuple(shade), label=PILLAR[m]) for m, shade in zip(PILLAR, shades, strict=True) if m in here]
    axes.legend(handles=patches, fontsize=7, loc="upper left", framealpha=0.9)
    caption(axes, letter, "truth")
    scale_bar(axes)


def _extent(width_um: float, height_um: float) -> tuple[float, float, float, float]:
    return -0.5 * width_um, 0.5 * width_um, -0.5 * height_um, 0.5 * height_um
