"""Read the raster of a scan from its run's start document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from xrm_sims.patterns import Raster


def labels_of(start: Mapping[str, Any]) -> list[str]:
    """Return the isotopes of a raster's channels in order."""
    return [channel["label"] for channel in start["channels"]]


def inner_field(image: NDArray[Any], raster: Raster, fov_um: float) -> tuple[NDArray[Any], Raster]:
    """Crop an image to the field, without the walls around it; return the crop and its raster."""
    keep = min(min(image.shape), round(fov_um / raster.pixel_um))
    rows, columns = ((n - keep) // 2 for n in image.shape)
    part = image[rows : rows + keep, columns : columns + keep]
    u = raster.centre_um[0] + (columns + (keep - 1) / 2 - (image.shape[1] - 1) / 2) * raster.pixel_um
    v = raster.centre_um[1] + (rows + (keep - 1) / 2 - (image.shape[0] - 1) / 2) * raster.pixel_um
    return part, Raster(part.shape, keep * raster.pixel_um, raster.dwell_ms, (u, v))


def raster_of_image(start: Mapping[str, Any]) -> Raster:
    """Return the raster of an SE image's start document; imported images may have no dwell time."""
    return raster_of({**start, "dwell_ms": 1e-3 * start.get("dwell_us", 1.0)})


def raster_of(start: Mapping[str, Any]) -> Raster:
    """Return the raster of a SIMS run's start document."""
    rows, columns = start["shape"]
    u, v = start["centre_um"]
    return Raster((rows, columns), start["fov_um"], start["dwell_ms"], (u, v))
