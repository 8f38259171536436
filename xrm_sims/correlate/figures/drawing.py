"""Parts of every figure: figures without pyplot's state, images in micrometres, captions, scale and colour bars."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from xrm_sims.atomic_write import write_whole

Extent = tuple[float, float, float, float]  # left, right, bottom, top
LCO_COLOUR, NCA_COLOUR = "#0072b2", "#d55e00"  # a pair that colour-blind readers can distinguish
PORE_COLOUR, CRACK_COLOUR = "#ff3b30", "white"
_BAR_STEPS_UM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Drawing(Figure):
    """A figure that a notebook shows whether or not pyplot is in use."""

    def _repr_png_(self) -> bytes:
        return as_png(self, dpi=110)


def save(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a PNG atomically, make its folder if needed, and return the path as given."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(target, as_png(figure, dpi))


def as_png(figure: Figure, dpi: int = 150) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches; its layout leaves no gaps around images."""
    figure = Drawing(figsize=(width, height), layout="compressed", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def image_in(
    axes: Axes, image: NDArray[np.generic], extent: Extent, colours: str | Colormap, limits: tuple[float, float]
) -> AxesImage:
    """Draw an image (row, column) without ticks, its first row at the bottom."""
    axes.set(xticks=[], yticks=[])
    return axes.imshow(
        image, origin="lower", extent=extent, cmap=colours, vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-9),
        interpolation="nearest",
    )  # fmt: skip


def panel(
    axes: Axes,
    letter: str,
    text: str,
    image: NDArray[np.generic],
    extent: Extent,
    colours: str | Colormap,
    limits: tuple[float, float],
) -> AxesImage:
    """Draw an image (row, column) with a caption and a scale bar."""
    drawn = image_in(axes, image, extent, colours, limits)
    caption(axes, letter, text)
    scale_bar(axes)
    return drawn


def up_to(image: NDArray[Any], percentile: float, least: float = 0.0) -> tuple[float, float]:
    """Return limits from zero to a percentile of the image, or to ``least`` if that is more; NaN is left out."""
    return 0.0, max(least, float(np.nanpercentile(image, percentile)))


def centred(width_um: float, height_um: float) -> Extent:
    """Return the extent of an image whose middle is the origin."""
    return -0.5 * width_um, 0.5 * width_um, -0.5 * height_um, 0.5 * height_um


def caption(axes: Axes, letter: str, text: str) -> None:
    axes.set_title(rf"$\bf{{{letter}}}$  {text}", fontsize=9, loc="left", pad=3)


def colour_bar(image: AxesImage, axes: Any, label: str = "", **placement: Any) -> None:
    """Draw the colour scale of an image beside its axes; ``placement`` goes to ``Figure.colorbar``."""
    figure = image.figure
    assert figure is not None
    bar = figure.colorbar(image, ax=axes, **({"fraction": 0.045, "pad": 0.02} | placement))
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def scale_bar(axes: Axes, colour: str = "white") -> None:
    """A bar of a round length, about a quarter of the axes' width (micrometres), in the lower right corner."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    width, height = abs(x1 - x0), abs(y1 - y0)
    length = bar_length_um(width)
    thick = 0.014 * width
    left, bottom = x0 + 0.95 * width - length, y0 + 0.05 * height
    axes.add_patch(Rectangle((left, bottom), length, thick, facecolor=colour, edgecolor="black", lw=0.5, zorder=5))
    axes.text(
        left + length / 2, bottom + 1.4 * thick, f"{length:g} µm", color=colour, ha="center", va="bottom", fontsize=8,
        zorder=5, path_effects=outline(),
    )  # fmt: skip


def bar_length_um(width_um: float) -> float:
    """A round length that is at most three tenths of the width."""
    return max([s for s in _BAR_STEPS_UM if s <= 0.3 * width_um], default=_BAR_STEPS_UM[0])


def no_data(axes: Axes, reason: str) -> None:
    """Write in empty axes why nothing is drawn there."""
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


def ring(axes: Axes, at: NDArray[np.float64], radius_um: float, kind: str) -> None:
    """Draw a circle around a pore or crack."""
    colour = PORE_COLOUR if kind == "pore" else CRACK_COLOUR
    place = (float(at[0]), float(at[1]))
    axes.add_patch(Circle(place, 1.6 * radius_um, fill=False, ec=colour, lw=1.4, zorder=6, path_effects=outline(3.0)))


def edge_curves(
    axes: Axes,
    distance_um: NDArray[np.float64],
    edge_response: NDArray[np.float64],
    line_spread_per_um: NDArray[np.float64],
) -> None:
    """Plot an edge response, and its line spread scaled to 1."""
    axes.plot(distance_um, edge_response, ".", ms=2, color="0.5", label="edge response")
    axes.plot(distance_um, line_spread_per_um / line_spread_per_um.max(), color=LCO_COLOUR, label="line spread")
    axes.axhline(0.5, color="0.8", lw=0.8, zorder=0)
    axes.set(xlim=(-1.5, 1.5), ylim=(-0.25, 1.25), xlabel="distance from the edge (µm)")
    axes.legend(fontsize=8, frameon=False)


def outline(width: float = 1.6) -> list[AbstractPathEffect]:
    """Return the black rim of text and lines that lie on an image."""
    return [withStroke(linewidth=width, foreground="black")]
