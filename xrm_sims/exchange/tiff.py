"""TIFF files: OME-TIFF with physical sizes and channels, and ImageJ hyperstacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.exchange.images import Image
from xrm_sims.exchange.writing import Progress, library

IMAGEJ_TYPES = ("uint8", "uint16", "float32")
IMAGEJ_MAX_BYTES = (4 << 30) - (32 << 20)


def write_ome_tiff(image: Image, path: Path, progress: Progress) -> None:
    """Write pages in the order of the axes; units, uids, versions, licence and masses become OME annotations."""
    size = {f"PhysicalSize{axis}": image.pixel_um for axis in image.axes.upper() if axis in "ZYX"}
    masses = {f"mass_u {one.label}": f"{one.mass_u!r}" for one in image.channels if one.mass_u is not None}
    provenance = {name: str(value) for name, value in image.provenance.as_dict().items()}
    metadata: dict[str, Any] = {
        "axes": image.axes.upper(),
        "Name": image.provenance.title,
        "Description": f"{image.provenance.as_text()}\nunits: {image.units}",
        **size,
        **{f"{name}Unit": "µm" for name in size},
        "MapAnnotation": {
            **provenance,
            "run_uids": " ".join(image.provenance.run_uids),
            "units": image.units,
            **masses,
        },
    }
    if image.channels:
        metadata["Channel"] = {"Name": [one.label for one in image.channels]}
    with library("tifffile").TiffWriter(path, ome=True, bigtiff=image.nbytes > IMAGEJ_MAX_BYTES) as writer:
        writer.write(
            _pages(image, image.dtype, progress, "OME-TIFF"),
            shape=image.shape,
            dtype=image.dtype,
            photometric="minisblack",
            resolution=(1e4 / image.pixel_um, 1e4 / image.pixel_um),
            resolutionunit="CENTIMETER",
            metadata=metadata,
        )


def write_imagej(image: Image, path: Path, progress: Progress) -> None:
    """Write a hyperstack with scale, unit and slice labels for Fiji and ImageJ. Types unknown to ImageJ become float32,
    which is exact for counts up to 16,777,216.

    Raises ValueError for images above the limit of the format, four gigabytes.
    """
    dtype = image.dtype if image.dtype.name in IMAGEJ_TYPES else np.dtype(np.float32)
    size = int(np.prod(image.shape, dtype=np.int64)) * dtype.itemsize
    if size > IMAGEJ_MAX_BYTES:
        raise ValueError(
            f"{path}: ImageJ's TIFF holds at most 4.3 GB, this image has {size / 1e9:.1f} GB; use ome-tiff or ome-zarr"
        )
    labels = [one.name_and_mass for one in image.channels] * (image.shape[0] if image.axes.startswith("t") else 1)
    metadata: dict[str, Any] = {
        "axes": image.axes.upper(),
        "unit": "um",
        "spacing": image.pixel_um,
        "Info": f"{image.provenance.as_text()}\nunits: {image.units}",
    }
    if labels:
        metadata["Labels"] = labels
    with library("tifffile").TiffWriter(path, imagej=True) as writer:
        writer.write(
            _pages(image, dtype, progress, "ImageJ"),
            shape=image.shape,
            dtype=dtype,
            resolution=(1 / image.pixel_um, 1 / image.pixel_um),
            metadata=metadata,
        )


def _pages(image: Image, dtype: np.dtype[Any], progress: Progress, stage: str) -> Iterator[NDArray[Any]]:
    for place, block in image.blocks():
        yield from block.astype(dtype, copy=False).reshape(-1, *image.shape[-2:])
        progress(stage, place.stop / image.shape[0])
