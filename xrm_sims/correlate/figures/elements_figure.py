"""Figure of one field as CT, SIMS, SE and EDS show it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrm_sims.correlate.figures.drawing import colour_bar, new_figure, panel, up_to
from xrm_sims.correlate.figures.map_figures import ct_contour, field_extent, isotope, registered_slice
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.segment import Volume
from xrm_sims.patterns import Raster

SHOWN_BESIDE = ("58Ni", "59Co")


def elements_figure(
    volume: Volume,
    voxel_um: float,
    sims: tuple[NDArray[np.float64], Sequence[str], Raster, Registration],
    sem: NDArray[np.float64],
    eds: NDArray[np.float64],
    elements: Sequence[str],
) -> Figure:
    """Draw the SIMS raster's field as CT slice, ion maps, SE image and EDS maps, with the rims of CT's particles.

    ``sims`` : counts (channel, row, column), labels, raster, registration; ``sem`` (row, column) and ``eds`` (element,
    row, column) at the raster's pixels.
    """
    counts, labels, raster, registration = sims
    extent = field_extent(raster)
    slice_ = registered_slice(volume, voxel_um, raster, registration)
    ions = [(f"SIMS {isotope(name)}", counts[list(labels).index(name)]) for name in SHOWN_BESIDE if name in labels]
    xrays = [(f"EDS {name}", image) for name, image in zip(elements, eds, strict=True)]
    rows = [("nanoCT", slice_), *ions], [("SE by electrons", sem), *xrays]
    width = max(map(len, rows))
    figure = new_figure(3.4 * width, 7.2)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for axes_of_row, panels in zip(figure.subplots(2, width, squeeze=False), rows, strict=True):
        for axes in axes_of_row[len(panels) :]:
            axes.set_axis_off()
        for axes, (name, image) in zip(axes_of_row, panels, strict=False):
            counted = name.startswith(("SIMS", "EDS"))
            colours = "inferno" if counted else "gray"
            drawn = panel(axes, next(letters), name, image, extent, colours, up_to(image, 99.7))
            ct_contour(axes, slice_, extent, linewidths=0.5)
            if counted:
                colour_bar(drawn, axes, "counts per pixel", orientation="horizontal")
    return figure
