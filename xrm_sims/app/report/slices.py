"""A volume slice by slice inside a page: JPEG images, and the marks to draw above each of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray
from skimage.transform import downscale_local_mean

from xrm_sims.correlate.figures.drawing import bar_length_um
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.segment import PillarFit, Volume

MAX_SLICES, MAX_PIXELS = 64, 480  # keep a page at a few megabytes: 64 slices of noise are 6
MARGIN = 1.06  # of the pillar's radius
SAMPLES = 2_000_000  # voxels from which the grey levels are computed


@dataclass(frozen=True, eq=False)
class Field:
    """Corners (4, 2) of a map in the specimen frame (x, y), um, and its height."""

    corners_um: NDArray[np.float64]
    z_um: float


@dataclass(frozen=True, eq=False)
class SliceView:
    """Images (JPEG, description) from low to high z, marks for the drawing above them, and the first image shown.

    The drawing's coordinates are x and -y in micrometres; ``box`` is left edge, upper edge, width and height. A mark
    has the ``first`` and ``last`` image it belongs to, ``chosen``, and either a ``ring`` (x, y, radius) with a
    ``number``, or ``corners``.
    """

    images: list[tuple[bytes, str]]
    begin: int
    box: tuple[float, float, float, float]
    marks: list[dict[str, Any]]
    step: int  # slices averaged into one image
    bar_um: float  # length of the scale bar
    with_fields: bool


def view_slices(
    volume: Volume,
    voxel_um: float,
    pillar: PillarFit | None,
    defects: Sequence[Defect],
    chosen: Defect | None,
    fields: Sequence[Field] = (),
) -> SliceView:
    """Return slices across z with a ring around each defect, and the outlines of maps.

    Slices of a large volume are averaged and their pixels binned, to at most ``MAX_SLICES`` of ``MAX_PIXELS``.
    """
    step = -(-len(volume) // MAX_SLICES)
    rows, columns = _window(volume.shape, voxel_um, pillar)
    starts = np.arange(0, len(volume), step)
    slabs = [volume[k : k + step] for k in starts]
    heights_um = np.array(
        [(k + 0.5 * (len(slab) - len(volume))) * voxel_um for k, slab in zip(starts, slabs, strict=True)]
    )
    white = float(np.percentile(volume.ravel()[:: max(1, volume.size // SAMPLES)], 99.7))

    def nearest(z_um: float) -> int:
        return int(np.argmin(np.abs(heights_um - z_um)))

    x0, y0 = (columns.start - 0.5 * volume.shape[2]) * voxel_um, (rows.start - 0.5 * volume.shape[1]) * voxel_um
    width, height = (columns.stop - columns.start) * voxel_um, (rows.stop - rows.start) * voxel_um
    marks: list[dict[str, Any]] = []
    for defect in defects:
        x, y, z = defect.centre_um
        half_um = max(0.5 * defect.diameter_um, 0.3)
        ends = {"first": nearest(z - half_um), "last": nearest(z + half_um)}
        is_chosen = chosen is not None and defect.label == chosen.label
        marks.append(ends | {"ring": (x, -y, half_um + 0.02 * width), "number": defect.label, "chosen": is_chosen})
    for field in fields:
        k = nearest(field.z_um)
        marks.append({"first": k, "last": k, "corners": [(x, -y) for x, y in field.corners_um], "chosen": False})
    return SliceView(
        images=[
            (_jpeg(slab.mean(axis=0)[rows, columns], white), f"slice {n} of {len(slabs)}, z = {z:.2f} µm")
            for n, (slab, z) in enumerate(zip(slabs, heights_um, strict=True), start=1)
        ],
        begin=nearest(chosen.centre_um[2] if chosen else 0.0),
        box=(x0, -y0 - height, width, height),
        marks=marks,
        step=step,
        bar_um=bar_length_um(width),
        with_fields=bool(fields),
    )


def _window(shape: tuple[int, ...], voxel_um: float, pillar: PillarFit | None) -> tuple[slice, slice]:
    """Return the rows and columns that hold the pillar."""
    if pillar is None:
        return slice(0, shape[1]), slice(0, shape[2])
    found = []
    for n, centre_um in ((shape[1], pillar.centre_um[1]), (shape[2], pillar.centre_um[0])):
        ends = (centre_um + np.array([-1, 1]) * MARGIN * pillar.radius_um) / voxel_um + 0.5 * n
        low, high = np.clip(np.round(ends).astype(int), 0, n)
        found.append(slice(int(low), int(high)))
    return found[0], found[1]


def _jpeg(image: NDArray[np.float32], white: float) -> bytes:
    bins = -(-max(image.shape) // MAX_PIXELS)
    if bins > 1:
        rows, columns = (n // bins * bins for n in image.shape)
        image = downscale_local_mean(image[:rows, :columns], (bins, bins))
    buffer = io.BytesIO()
    imsave(buffer, image, cmap="gray", vmin=0.0, vmax=white, origin="lower", format="jpeg", pil_kwargs={"quality": 85})
    return buffer.getvalue()
