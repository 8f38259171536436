"""Figure of one field as CT, SIMS, electrons and X-rays see it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrm_sims.correlate.figures.drawing import caption, image_in, new_figure, scale_bar
from xrm_sims.correlate.figures.figures import field_extent, isotope
from xrm_sims.correlate.maps.field_maps import slice_in_field
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
    """The SIMS raster's field as CT, ions, electrons and X-rays see it, with the rims of CT's particles.

    ``sims`` : counts (channel, row, column), labels, raster, registration; ``sem`` (row, column) and ``eds`` (element,
    row, column) at the raster's pixels.
    """
    counts, labels, raster, registration = sims
    extent = field_extent(raster)
    slice_ = slice_in_field(volume, voxel_um, registration.exposed_z_um, registration.sims_to_specimen, raster.shape)
    rim = 0.5 * float(np.nanpercentile(slice_, 95))
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
            limits = (0.0, float(np.nanpercentile(image, 99.7)))
            picture = image_in(axes, image, extent, "inferno" if counted else "gray", limits)
            axes.contour(np.nan_to_num(slice_), levels=[rim], extent=extent, colors="white", linewidths=0.5)
            caption(axes, next(letters), name)
            scale_bar(axes)
            if counted:
                bar = figure.colorbar(picture, ax=axes, orientation="horizontal", fraction=0.045, pad=0.02)
                bar.set_label("counts per pixel", fontsize=8)
                bar.ax.tick_params(labelsize=7)
    return figure
