"""How all pictures are drawn: a figure without pyplot's state, images in micrometres, captions, scale bars, saving."""

from __future__ import annotations

import io
from pathlib import Path

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

PORE_COLOUR, CRACK_COLOUR = "#ff3b30", "white"
_BAR_STEPS_UM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Drawing(Figure):
    """Shows itself in a notebook, whether or not pyplot is in use there."""

    def _repr_png_(self) -> bytes:
        return as_png(self, dpi=110)


def save(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """A PNG, whole or not there, in a folder that is made; the path as given is returned."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(target, as_png(figure, dpi))


def as_png(figure: Figure, dpi: int = 150) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()


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


def new_figure(width: float, height: float) -> Figure:
    """Inches; the layout closes up round images."""
    figure = Drawing(figsize=(width, height), layout="compressed", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def image_in(
    axes: Axes,
    image: NDArray[np.generic],
    extent: tuple[float, float, float, float],
    colours: str | Colormap,
    limits: tuple[float, float],
) -> AxesImage:
    axes.set(xticks=[], yticks=[])
    return axes.imshow(
        image, origin="lower", extent=extent, cmap=colours, vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-9),
        interpolation="nearest",
    )  # fmt: skip


def caption(axes: Axes, letter: str, text: str) -> None:
    axes.set_title(rf"$\bf{{{letter}}}$  {text}", fontsize=9, loc="left", pad=3)


def ring(axes: Axes, at: NDArray[np.float64], radius_um: float, kind: str) -> None:
    colour = PORE_COLOUR if kind == "pore" else CRACK_COLOUR
    place = (float(at[0]), float(at[1]))
    axes.add_patch(Circle(place, 1.6 * radius_um, fill=False, ec=colour, lw=1.4, zorder=6, path_effects=outline(3.0)))


def outline(width: float = 1.6) -> list[AbstractPathEffect]:
    return [withStroke(linewidth=width, foreground="black")]
