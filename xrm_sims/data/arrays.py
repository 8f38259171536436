"""Measurements and results as lazy arrays of xarray, with named axes and with coordinates that have units.

Numbers are read through Tiled when they are needed, a few megabytes at a time, from this machine or another. The
``attrs`` of an array name its runs, sample and versions of software; those of a coordinate its ``units``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.data.scales import SMALLER
from xrm_sims.data.stored import RASTER_KEY
from xrm_sims.geometry import apply_affine, geometry_from_dict

if TYPE_CHECKING:
    import dask.array
    import xarray

PROJECTION_KEY, SE_KEY, EDS_KEY = "widepix_image", "se_image", "eds_counts"
BLOCK_BYTES = 16 << 20  # size of one request
SAME_ANGLE_DEG = 1e-3
READING_UNITS = {"rotation_angle_deg": "deg", "instrument_time_s": "s", "beam_current_na": "nA"}


def lazy(client: Any) -> dask.array.Array:
    """Return a dask array of a Tiled array, read in blocks along its first axis."""
    import dask.array

    frame_bytes = client.dtype.itemsize * int(np.prod(client.shape[1:], dtype=np.int64))
    chunks = (max(1, BLOCK_BYTES // max(1, frame_bytes)), *client.shape[1:])
    return dask.array.from_array(client, chunks=chunks, name=False, meta=np.empty((0,) * client.ndim, client.dtype))


def projections(parts: Sequence[Any], stream: str = "primary") -> xarray.DataArray:
    """Return raw counts (angle, row, column) of all parts of a tomography.

    Projections are sorted by angle, with the last frame of each angle; frames of another stream (``flat``, ``dark``,
    ``reference``) keep the order of acquisition. ``y`` and ``z`` are laboratory coordinates of the pixel centres,
    projected onto the plane of the rotation axis.

    Raises ValueError when the run is not a tomography, or has no frames in this stream.
    """
    import dask.array
    import xarray

    starts = [part.metadata["start"] for part in parts]
    found = [part[stream] for part in parts if stream in part and PROJECTION_KEY in part[stream]]
    if not found or "geometry" not in starts[0]:
        kind = starts[0].get("scan_type", "run of unknown type")
        raise ValueError(f"run {starts[0]['uid']} ({kind}) has no projections in its stream {stream!r}")
    frames = [lazy(node[PROJECTION_KEY]) for node in found]
    read = {
        key: [_column(node, key, len(each)) for node, each in zip(found, frames, strict=True)] for key in READING_UNITS
    }
    columns = {key: np.concatenate(values) for key, values in read.items()}
    angle_deg = columns.pop("rotation_angle_deg")
    order = _last_of_each(angle_deg) if stream == "primary" else np.arange(len(angle_deg))
    geometry = geometry_from_dict(starts[0]["geometry"])
    pitch_um = geometry.pixel_mm * 1e3 / geometry.magnification
    z_um, y_um = (
        _centred(n, pitch_um) - offset * pitch_um
        for n, offset in zip(geometry.detector_shape, geometry.detector_offset_px, strict=True)
    )
    coords = {
        "angle": ("angle", angle_deg[order], {"units": "deg", "long_name": "rotation"}),
        "z": ("row", z_um, {"units": "um", "long_name": "z at the rotation axis"}),
        "y": ("column", y_um, {"units": "um", "long_name": "y at the rotation axis"}),
    } | {key: ("angle", values[order], {"units": READING_UNITS[key]}) for key, values in columns.items()}
    facts = {"geometry": dict(starts[0]["geometry"]), "beam": starts[0].get("beam"), "stream": stream}
    facts["exposure_s"] = starts[0].get("exposure_s")
    return xarray.DataArray(
        dask.array.concatenate(frames)[order],
        coords,
        ("angle", "row", "column"),
        "projections" if stream == "primary" else f"{stream}s",
        _about(starts, "counts") | facts,
    )


def volume(result: Any, start: Mapping[str, Any], name: str = "volume", factor: int = 1) -> xarray.DataArray:
    """Return an array (z, y, x) of a result over its specimen frame: attenuation in 1/um, or labels; with voxels
    ``factor`` times as wide.

    Raises ValueError, listing the stored factors, when that one is not stored.
    """
    import xarray

    about = dict(result.metadata)
    whole, voxel_um = result[name], float(about["voxel_um"])
    smaller = result[SMALLER] if factor != 1 and SMALLER in result else {}
    if factor != 1 and f"{name}_{factor}" not in smaller:
        kept = ["1", *(of.removeprefix(f"{name}_") for of in smaller if of.startswith(f"{name}_"))]
        raise ValueError(f"factor: {name} is stored with {', '.join(kept)}; got {factor}")
    client = whole if factor == 1 else smaller[f"{name}_{factor}"]
    coords = {}
    for axis, n, finest in zip("zyx", client.shape, whole.shape, strict=True):
        centres = factor * np.arange(n) + 0.5 * (factor - finest)  # in finest voxels, from the middle
        coords[axis] = (axis, centres * voxel_um, {"units": "um"})
    voxel_um *= factor
    facts = {"voxel_um": voxel_um, "versions": about["versions"], "parent_uids": about["parent_uids"]}
    return xarray.DataArray(
        lazy(client), coords, ("z", "y", "x"), name, _about([start], str(about.get("units", ""))) | facts
    )


def maps(parts: Sequence[Any], registration: Mapping[str, Any] | None = None) -> xarray.DataArray:
    """Return SIMS counts (frame, isotope, v, u) of all parts of a raster, from the original surface down.

    ``isotope`` holds labels such as "7Li", with ``mass_u`` beside it; ``u`` and ``v`` are scan coordinates. After
    registration, ``x`` and ``y`` (v, u) are specimen coordinates of the pixels and ``z`` is the height of the plane,
    so ``volume.interp(x=maps.x, y=maps.y, z=maps.z)`` is the slice beneath the maps.

    Raises ValueError when the run is not a raster or has no frames.
    """
    import dask.array
    import xarray

    starts = [part.metadata["start"] for part in parts]
    frames: dict[int, dask.array.Array] = {}
    for part, start in zip(parts, starts, strict=True):
        if "primary" in part and RASTER_KEY in part["primary"]:
            counts = lazy(part["primary"][RASTER_KEY])
            frames |= dict(zip(start.get("frame_indices", range(len(counts))), counts, strict=False))
    if not frames:
        kind = starts[0].get("scan_type", "run of unknown type")
        raise ValueError(f"run {starts[0]['uid']} ({kind}) has no SIMS maps")
    order, start = sorted(frames), starts[0]
    counts = dask.array.stack([frames[index] for index in order])
    coords = {
        "frame": ("frame", order, {"long_name": "frame, from the original surface down"}),
        "isotope": ("isotope", [str(one["label"]) for one in start["channels"]]),
        "mass_u": ("isotope", [float(one["mass_u"]) for one in start["channels"]], {"units": "u"}),
        **_field(start, counts.shape[-2:]),
    }
    if registration is not None:
        coords |= _in_specimen(registration, counts.shape[-2:])
    facts = {key: start.get(key) for key in ("dwell_ms", "impact_energy_kev", "fov_um")}
    return xarray.DataArray(
        counts, coords, ("frame", "isotope", "v", "u"), "sims", _about(starts, "counts per pixel") | facts
    )


def image(run: Any, key: str) -> xarray.DataArray:
    """Return the last frame of an SE image (v, u), or the counts of an EDS map (element, v, u).

    Raises ValueError when the run has no such frames.
    """
    import xarray

    start = run.metadata["start"]
    if "primary" not in run or key not in run["primary"]:
        raise ValueError(f"run {start['uid']} ({start.get('scan_type', 'run of unknown type')}) has no {key}")
    frame = lazy(run["primary"][key])[-1]
    coords = _field(start, frame.shape[-2:])
    if frame.ndim == 3:
        coords["element"] = ("element", list(start["elements"]))
    return xarray.DataArray(frame, coords, ("element", "v", "u")[-frame.ndim :], key, _about([start], "counts"))


def _column(stream: Any, key: str, length: int) -> NDArray[np.float64]:
    """Return the reading of each frame; NaN where it is missing."""
    values = np.asarray(stream[key].read(), float)[:length] if key in stream else np.zeros(0)
    return np.pad(values, (0, length - len(values)), constant_values=np.nan)


def _last_of_each(angle_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    last = {round(angle / SAME_ANGLE_DEG): n for n, angle in enumerate(angle_deg.tolist()) if np.isfinite(angle)}
    return np.array([last[key] for key in sorted(last)], dtype=np.int64)


def _centred(n: int, pitch_um: float) -> NDArray[np.float64]:
    return np.asarray((np.arange(n) - (n - 1) / 2) * pitch_um, dtype=np.float64)


def _field(start: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the coordinates of the pixel centres of a scan."""
    u, v = start.get("centre_um", (0.0, 0.0))
    pixel_um = float(start["fov_um"]) / shape[1]
    middle = {"v": v + _centred(shape[0], pixel_um), "u": u + _centred(shape[1], pixel_um)}
    return {axis: (axis, values, {"units": "um"}) for axis, values in middle.items()}


def _in_specimen(registration: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    r, c = np.indices(shape)
    x, y = apply_affine(registration["sims_to_specimen"], np.column_stack([c.ravel(), r.ravel()])).T
    return {
        "x": (("v", "u"), x.reshape(shape), {"units": "um"}),
        "y": (("v", "u"), y.reshape(shape), {"units": "um"}),
        "z": ((), float(registration["exposed_z_um"]), {"units": "um"}),
    }


def _about(starts: Sequence[Mapping[str, Any]], units: str) -> dict[str, Any]:
    first = starts[0]
    return {
        "units": units,
        "uid": first["uid"],
        "part_uids": [start["uid"] for start in starts],
        "experiment_uid": first.get("experiment_uid"),
        "sample_name": first.get("sample_name", ""),
        "operator": first.get("operator", ""),
        "versions": dict(first.get("versions", {})),
    }
