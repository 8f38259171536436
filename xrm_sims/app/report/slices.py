"""A volume slice by slice inside a page: images one upon the other, marks above them, a slider with its script."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray
from skimage.transform import downscale_local_mean

from xrm_sims.app.common.html import Element, element, embedded
from xrm_sims.correlate.figures.drawing import bar_length_um
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.segment import PillarFit, Volume

MOST_SLICES, MOST_PIXELS = 64, 480  # a page stays a few megabytes: 64 slices of noise are 6
MARGIN = 1.06  # of the pillar's radius
SAMPLES = 2_000_000  # voxels that the grey levels are taken from
STYLE = """
.stack { position: relative; max-width: 34rem; background: #000 } .stack img { width: 100%; border: 0; display: block }
.stack img[hidden], .stack g[hidden] { display: none }
.stack svg { position: absolute; inset: 0; width: 100%; height: 100% }
.stack circle, .stack polygon { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke: #ff9f0a }
.stack .chosen circle { stroke: #ff453a; stroke-width: 3 } .stack polygon { stroke: #64d2ff; stroke-dasharray: 6 4 }
.stack text { fill: #fff; stroke: #000; stroke-width: .18em; paint-order: stroke; font-family: system-ui, sans-serif }
.stack rect { fill: #fff; stroke: #000; stroke-width: 1; vector-effect: non-scaling-stroke }
.steer { display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; max-width: 34rem }
.steer input { flex: 1 1 12rem } .steer output { flex-basis: 100% }
"""
SCRIPT = """
for (const figure of document.querySelectorAll("figure.slices")) {
  const images = figure.querySelectorAll("img"), marks = figure.querySelectorAll("g[data-first]");
  const slider = figure.querySelector("input"), said = figure.querySelector("output");
  const button = figure.querySelector("button");
  let playing = 0;
  function show() {
    const now = Number(slider.value);
    images.forEach((image, n) => { image.hidden = n !== now; });
    for (const mark of marks) mark.toggleAttribute("hidden", now < mark.dataset.first || now > mark.dataset.last);
    said.value = images[now].alt;
  }
  slider.addEventListener("input", show);
  button.addEventListener("click", () => {
    if (playing) { clearInterval(playing); playing = 0; }
    else playing = setInterval(() => { slider.value = (Number(slider.value) + 1) % images.length; show(); }, 120);
    button.textContent = playing ? "Pause" : "Play";
  });
  show();
}
"""


@dataclass(frozen=True, eq=False)
class Field:
    """Corners (4, 2) of a map in the specimen frame (x, y), um, and its height."""

    corners_um: NDArray[np.float64]
    z_um: float


def slices(
    volume: Volume,
    voxel_um: float,
    pillar: PillarFit | None,
    defects: Sequence[Defect],
    chosen: Defect | None,
    fields: Sequence[Field] = (),
) -> Element:
    """The figure: slices across z with rings about the defects that each cuts, dashed outlines of maps, a scale bar.

    Several slices of a large volume are averaged to one, and pixels binned, so that it has no more than
    ``MOST_SLICES`` of ``MOST_PIXELS``. Marks are drawn in micrometres.
    """
    step = -(-len(volume) // MOST_SLICES)
    window = _window(volume.shape, voxel_um, pillar)
    first = np.arange(0, len(volume), step)
    slabs = [volume[k : k + step] for k in first]
    heights_um = [
        (k + 0.5 * (len(slab) - 1) - 0.5 * (len(volume) - 1)) * voxel_um for k, slab in zip(first, slabs, strict=True)
    ]
    white = float(np.percentile(volume.ravel()[:: max(1, volume.size // SAMPLES)], 99.7))
    begin = _nearest(heights_um, chosen.centre_um[2] if chosen else 0.0)
    images = [
        element(
            "img",
            src=embedded(_jpeg(slab.mean(axis=0)[window], white), "jpeg"),
            alt=f"slice {n + 1} of {len(slabs)}, z = {z:z.2f} µm",
            hidden=None if n == begin else "",
        )
        for n, (slab, z) in enumerate(zip(slabs, heights_um, strict=True))
    ]
    x0, y0, width, height = _extent(volume.shape, voxel_um, window)
    marks = [_ring(defect, chosen, heights_um, 0.02 * width) for defect in defects]
    marks += [_outline(field, heights_um) for field in fields]
    for mark in marks:
        if not int(mark.get("data-first", 0)) <= begin <= int(mark.get("data-last", 0)):
            mark.set("hidden", "")
    drawing = element(
        "svg", *marks, _bar(x0, y0, width), viewBox=f"{x0:.3f} {-y0 - height:.3f} {width:.3f} {height:.3f}",
        aria_hidden="true",
    )  # fmt: skip
    slider = element("input", type="range", min=0, max=len(slabs) - 1, value=begin, aria_label="slice")
    controls = [element("button", "Play", type="button"), slider, element("output", images[begin].get("alt") or "")]
    return element(
        "figure",
        element("div", *images, drawing, class_="stack"),
        element("div", *controls, class_="steer"),
        element("figcaption", _caption(voxel_um, step, bool(defects), bool(fields))),
        class_="slices",
    )


def _caption(voxel_um: float, step: int, defects: bool, fields: bool) -> str:
    rings = " Rings: ROIs with their numbers, the chosen one in red." if defects else ""
    dashed = " Dashed: the field of the SIMS map, in the slice nearest to the exposed plane." if fields else ""
    thick = f", {step} of them averaged" if step > 1 else ""
    return f"Slices across z, seen from above, x to the right; voxels of {1e3 * voxel_um:.0f} nm{thick}.{rings}{dashed}"


def _window(shape: tuple[int, ...], voxel_um: float, pillar: PillarFit | None) -> tuple[slice, slice]:
    """Rows and columns about the pillar."""
    if pillar is None:
        return slice(0, shape[1]), slice(0, shape[2])
    found = []
    for n, centre_um in ((shape[1], pillar.centre_um[1]), (shape[2], pillar.centre_um[0])):
        ends = (centre_um + np.array([-1, 1]) * MARGIN * pillar.radius_um) / voxel_um + 0.5 * n
        low, high = np.clip(np.round(ends).astype(int), 0, n)
        found.append(slice(int(low), int(high)))
    return found[0], found[1]


def _extent(shape: tuple[int, ...], voxel_um: float, window: tuple[slice, slice]) -> tuple[float, float, float, float]:
    """Lower left corner, width and height of the window."""
    rows, columns = window
    x0, y0 = (columns.start - 0.5 * shape[2]) * voxel_um, (rows.start - 0.5 * shape[1]) * voxel_um
    return x0, y0, (columns.stop - columns.start) * voxel_um, (rows.stop - rows.start) * voxel_um


def _jpeg(image: NDArray[np.float32], white: float) -> bytes:
    bins = -(-max(image.shape) // MOST_PIXELS)
    if bins > 1:
        rows, columns = (n // bins * bins for n in image.shape)
        image = downscale_local_mean(image[:rows, :columns], (bins, bins))
    buffer = io.BytesIO()
    imsave(buffer, image, cmap="gray", vmin=0.0, vmax=white, origin="lower", format="jpeg", pil_kwargs={"quality": 85})
    return buffer.getvalue()


def _nearest(heights_um: Sequence[float], z_um: float) -> int:
    return int(np.argmin(np.abs(np.array(heights_um) - z_um)))


def _ring(defect: Defect, chosen: Defect | None, heights_um: Sequence[float], gap_um: float) -> Element:
    x, y, z = defect.centre_um
    half_um = max(0.5 * defect.diameter_um, 0.3)
    own = chosen is not None and defect.label == chosen.label
    radius = half_um + gap_um
    ring = element("circle", cx=f"{x:.3f}", cy=f"{-y:.3f}", r=f"{radius:.3f}")
    number = element(
        "text", str(defect.label), x=f"{x + radius:.3f}", y=f"{-y - radius:.3f}", font_size=f"{1.4 * gap_um:.3f}"
    )
    return _between(heights_um, z - half_um, z + half_um, ring, number, class_="chosen" if own else None)


def _outline(field: Field, heights_um: Sequence[float]) -> Element:
    points = " ".join(f"{x:.3f},{-y:.3f}" for x, y in field.corners_um)
    return _between(heights_um, field.z_um, field.z_um, element("polygon", points=points))


def _between(
    heights_um: Sequence[float], low_um: float, high_um: float, *marks: Element, class_: str | None = None
) -> Element:
    """Marks that are shown from one height to another, at least in the nearest slice."""
    first, last = _nearest(heights_um, low_um), _nearest(heights_um, high_um)
    return element("g", *marks, data_first=first, data_last=last, class_=class_)


def _bar(x0: float, y0: float, width: float) -> Element:
    length = bar_length_um(width)
    right, low = x0 + 0.96 * width, -y0 - 0.03 * width
    bar = element(
        "rect", x=f"{right - length:.3f}", y=f"{low:.3f}", width=f"{length:.3f}", height=f"{0.012 * width:.3f}"
    )
    said = element(
        "text", f"{length:g} µm", x=f"{right - 0.5 * length:.3f}", y=f"{low - 0.01 * width:.3f}",
        font_size=f"{0.035 * width:.3f}", text_anchor="middle",
    )  # fmt: skip
    return element("g", bar, said)
