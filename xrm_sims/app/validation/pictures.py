"""Figures of the validation."""

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
from xrm_sims.correlate.figures.drawing import (
    LCO_COLOUR,
    NCA_COLOUR,
    Extent,
    caption,
    centred,
    colour_bar,
    edge_curves,
    image_in,
    new_figure,
    panel,
    scale_bar,
    up_to,
)
from xrm_sims.correlate.figures.map_figures import isotope
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material

if TYPE_CHECKING:
    from xrm_sims.app.validation.fields import Field
    from xrm_sims.app.validation.laboratory import Tomogram
    from xrm_sims.app.validation.measured import Image, MappedPore, Voxels

PILLAR = {
    Material.VACUUM: "free space",
    Material.LCO: "LCO",
    Material.NCA: "NCA",
    Material.NCA_BOUNDARY: "its boundaries",
    Material.BINDER: "binder",
}


def radiograph_figure(projections: NDArray[np.float64], flat: NDArray[np.float64], settings: Settings) -> Figure:
    """Draw the transmission of the first three views."""
    figure = new_figure(10.0, 6.0)
    rows, columns = flat.shape
    for axes, image, letter in zip(figure.subplots(3, 1), projections, "abc", strict=False):
        extent = centred(columns * settings.voxel_um, rows * settings.voxel_um)
        drawn = panel(axes, letter, "transmission", image / np.maximum(flat, 1), extent, "gray", (0.0, 1.1))
        colour_bar(drawn, axes, fraction=0.02, pad=0.01)
    return figure


def edge_figure(tomogram: Tomogram, width: recon.EdgeResolution) -> Figure:
    """Draw a slice of the volume, the edge response and its line spread."""
    figure = new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2)
    _slice(left, tomogram, tomogram.raw, "nanoCT")
    edge_curves(right, width.curves.distance_um, width.curves.edge_response, width.curves.line_spread_per_um)
    caption(right, "b", f"{1e3 * width.fwhm_um:.0f} ± {1e3 * width.sigma_um:.0f} nm (direct half maximum)")
    return figure


def grey_figure(tomogram: Tomogram, voxels: Voxels, target: str) -> Figure:
    """Draw a slice by filtered back projection, and histograms of the grey values of LCO and NCA."""
    figure = new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2)
    _slice(left, tomogram, tomogram.raw, f"{target} target")
    both = np.concatenate([voxels.of(Material.LCO), voxels.of(Material.NCA)])
    edges = np.linspace(np.quantile(both, 0.001), np.quantile(both, 0.999), 80)
    for material, colour in ((Material.LCO, LCO_COLOUR), (Material.NCA, NCA_COLOUR)):
        right.hist(voxels.of(material), edges, density=True, histtype="stepfilled", alpha=0.5, color=colour,
                   label=material.name)  # fmt: skip
    right.set(xlabel="attenuation (1/µm)", ylabel="share of voxels (µm)")
    right.legend(fontsize=8, frameon=False)
    caption(right, "b", "grey values of single voxels")
    return figure


def sims_figure(field: Field) -> Figure:
    """Draw all channels of a frame, and the true materials."""
    width = field.raster.fov_um
    extent = centred(width, width * field.raster.shape[0] / field.raster.shape[1])
    return _counts_figure(field.counts, [isotope(label) for label in field.labels], field.material, extent)


def eds_figure(image: Image, elements: Sequence[str]) -> Figure:
    """Draw the element maps, and the true materials."""
    return _counts_figure(image.counts, elements, image.material, _extent_of(image))


def _counts_figure(
    counts: NDArray[np.float64], names: Sequence[str], material: NDArray[np.uint8], extent: Extent
) -> Figure:
    """Draw up to five maps (n, row, column) of counts, and the true materials after them."""
    figure = new_figure(12.0, 8.2)
    grid = figure.subplots(2, 3).ravel()
    for axes, image, name, letter in zip(grid, counts, names, "abcde", strict=False):
        drawn = panel(axes, letter, name, image, extent, "viridis", up_to(image, 99.5, 1.0))
        colour_bar(drawn, axes, "counts per pixel", orientation="horizontal")
    _materials(grid[len(counts)], material, extent, "abcdef"[len(counts)])
    for axes in grid[len(counts) + 1 :]:
        axes.axis("off")
    return figure


def se_figure(image: Image) -> Figure:
    """Draw the SE image beside the true materials."""
    figure = new_figure(11.0, 5.6)
    left, right = figure.subplots(1, 2)
    low, high = np.percentile(image.counts, (0.5, 99.5))
    panel(left, "a", "secondary electrons", image.counts, _extent_of(image), "gray", (float(low), float(high)))
    _materials(right, image.material, _extent_of(image), "b")
    return figure


def _extent_of(image: Image) -> Extent:
    rows, columns = image.material.shape
    return centred(image.pixel_um * columns, image.pixel_um * rows)


def pores_figure(pores: Sequence[MappedPore]) -> Figure:
    """Draw each pore in the tomogram and in the lithium map, on the same pixels."""
    figure = new_figure(2.4 * max(len(pores), 2), 5.2)
    grid = figure.subplots(2, len(pores), squeeze=False)
    for (above, below), entry in zip(grid.T, pores, strict=True):
        width = entry.field.raster.fov_um
        extent, lithium = centred(width, width), entry.field.channel("7Li")
        image_in(above, entry.slice_per_um, extent, "gray", up_to(entry.slice_per_um, 99))
        image_in(below, lithium, extent, "viridis", up_to(lithium, 99))
        shift = 1e3 * entry.shift_um
        above.set_title("nanoCT", fontsize=8)
        below.set_title(rf"$^7$Li$^+$, {shift[0]:+.0f}, {shift[1]:+.0f} nm", fontsize=8)
        for axes in (above, below):
            axes.plot(0, 0, "+", color="#ff3b30", ms=10)
            scale_bar(axes)
    return figure


def _slice(axes: Axes, tomogram: Tomogram, volume: NDArray[np.float32], name: str) -> None:
    """Draw a horizontal slice below the middle of one of the tomogram's volumes."""
    k = len(volume) // 3
    image = volume[k]
    text = f"{name}, z = {tomogram.z_um[k]:z.2f} µm, voxels of {1e3 * tomogram.voxel_um:.0f} nm"
    side = tomogram.voxel_um * np.array(image.shape)
    panel(axes, "a", text, image, centred(side[1], side[0]), "gray", up_to(image, 99.8))


def _materials(axes: Axes, material: NDArray[np.uint8], extent: Extent, letter: str) -> None:
    """Draw the true materials, one shade for each."""
    shown, span = np.minimum(material, Material.BINDER), (0.0, float(Material.BINDER))
    panel(axes, letter, "truth", shown, extent, "cividis", span)
    shades = colormaps["cividis"](np.array(list(PILLAR)) / Material.BINDER)
    here = [(m, shade) for m, shade in zip(PILLAR, shades, strict=True) if (material == m).any()]
    patches = [Patch(color=tuple(shade), label=PILLAR[m]) for m, shade in here]
    axes.legend(handles=patches, fontsize=7, loc="upper left", framealpha=0.9)
