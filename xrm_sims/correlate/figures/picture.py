"""Figure of an array with coordinates, such as ``xrm_sims.data.open_experiment`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xrm_sims.correlate.figures.drawing import colour_bar, image_in, new_figure, scale_bar

if TYPE_CHECKING:
    import xarray

MOST_VIEWS = 3
FLAT = 0.5  # height over width below which images are drawn one above the other
LIMITS = (0.2, 99.8)  # percentiles of an image that are drawn darkest and brightest
_COUNTED = ("sims", "eds_counts")  # drawn in colour from zero; images of morphology are grey


def picture(array: xarray.DataArray) -> Figure:
    """Draw an image, three planes of a volume, three views of projections, or the maps of a raster.

    A volume (z, y, x) is cut through its middle; maps are summed over frames, one panel for each isotope or element.
    Only the values that are drawn are read. Axes are in um with a scale bar. The figure does not use pyplot's state.

    Raises ValueError for an array without coordinates in um along its last two axes.
    """
    panels = list(_panels(array))
    steepness = max(_steepness(image) for _, image in panels)
    columns, width = (1, 7.0) if steepness < FLAT else (min(len(panels), 4), 3.4)
    rows = -(-len(panels) // columns)
    height = min(max(width * steepness, 1.0), 7.0)
    figure = new_figure((width + 0.8) * columns, (height + 0.7) * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, image) in zip(grid, panels, strict=False):
        _draw(axes, title, image)
    sample, uid = array.attrs.get("sample_name", ""), str(array.attrs.get("uid", ""))[:8]
    figure.suptitle(" ".join(str(word) for word in (sample, array.name, uid) if word), fontsize=9)
    return figure


def _panels(array: xarray.DataArray) -> Iterator[tuple[str, xarray.DataArray]]:
    if "frame" in array.dims:
        array = array.sum("frame", keep_attrs=True)
    if array.ndim == 2:
        yield "", array
    elif array.dims == ("z", "y", "x"):
        for axis in "zyx":
            middle = array.isel({axis: array.sizes[axis] // 2})
            yield f"{axis} = {float(middle[axis]):.2f} µm", middle
    elif array.ndim == 3:
        axis = str(array.dims[0])
        labels = axis in ("isotope", "element")
        count = array.sizes[axis]
        few = range(count) if labels else sorted({n * count // MOST_VIEWS for n in range(MOST_VIEWS)})
        for n in few:
            one = array.isel({axis: n})
            yield (str(one[axis].item()) if labels else f"{axis} {float(one[axis]):.1f}°"), one
    else:
        raise ValueError(f"array: has the axes {', '.join(map(str, array.dims))}; select an image or a volume from it")


def _draw(axes: Axes, title: str, image: xarray.DataArray) -> None:
    up, right = _names(image)
    values = np.asarray(image)
    counted = image.name in _COUNTED
    low, high = (float(np.nanpercentile(values, share)) for share in LIMITS)
    extent = (*_edges(image, right), *_edges(image, up))
    drawn = image_in(axes, values, extent, "viridis" if counted else "gray", (0.0 if counted else low, high))
    axes.set(xlabel=f"{right} (µm)", ylabel=f"{up} (µm)")
    axes.set_title(title, fontsize=9)
    scale_bar(axes)
    colour_bar(drawn, axes, str(image.attrs.get("units", "")).replace("um", "µm"))


def _steepness(image: xarray.DataArray) -> float:
    """Return height over width."""
    up, right = (np.ptp(_edges(image, name)) for name in _names(image))
    return float(up / right)


def _names(image: xarray.DataArray) -> tuple[str, str]:
    """Return the names of the coordinates in um up and to the right."""
    up, right = (_along(image, str(dim)) for dim in image.dims)
    return up, right


def _along(image: xarray.DataArray, dim: str) -> str:
    """Return the name of the coordinate in um along an axis."""
    for name in (dim, *map(str, image.coords)):
        if name in image.coords and image[name].dims == (dim,) and image[name].attrs.get("units") == "um":
            return name
    raise ValueError(f"array: has no coordinate in um along {dim}; a scale bar needs one")


def _edges(image: xarray.DataArray, name: str) -> tuple[float, float]:
    """Return the outer edges of the first and last pixel."""
    middles: Any = image[name].values
    half = 0.5 * float(middles[1] - middles[0]) if len(middles) > 1 else 0.5
    return float(middles[0]) - half, float(middles[-1]) + half
