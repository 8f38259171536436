"""DataExchange (F. De Carlo et al., J. Synchrotron Rad. 21 (2014) 1224), the HDF5 layout of TomoPy and dxchange.

``/exchange`` holds ``data``, ``data_white`` and ``data_dark`` (frame, row, column) and their ``theta`` in degrees. The
format has no place for drift references, which are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xrm_sims.exchange.foreign import ForeignFrames, ForeignScan, Lengths, readings_of
from xrm_sims.exchange.round_trip import read_round_trip, write_round_trip
from xrm_sims.exchange.scans import RawScan
from xrm_sims.exchange.writing import Progress, preallocated_hdf5
from xrm_sims.geometry import ConeGeometry

SUFFIXES = {"primary": "", "flat": "_white", "dark": "_dark"}
_MM = {"m": 1e3, "mm": 1.0, "millimeter": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "micrometer": 1e-3, "nm": 1e-6}
_PIXELS = ("measurement/instrument/detector/pixel_size_x", "measurement/instrument/detector/x_pixel_size")
_SOURCE = "measurement/instrument/source/distance_to_sample"
_CAMERA = "measurement/instrument/detector/distance_to_sample"


def write_dataexchange(scan: RawScan, path: Path, progress: Progress) -> None:
    """Write projections, flats and darks of a scan with their angles."""
    total = sum(stream in SUFFIXES for stream in scan.streams.tolist())
    done = 0
    with preallocated_hdf5(path, "w", scan.nbytes) as file:
        file["implements"] = "exchange:measurement:process"
        exchange = file.create_group("exchange")
        exchange["title"] = scan.provenance.title
        for stream, suffix in SUFFIXES.items():
            frames = scan.of(stream)
            data = exchange.create_dataset(f"data{suffix}", (len(frames), *scan.shape), scan.dtype)
            data.attrs.update({"units": "counts", "axes": f"theta{suffix}:y:x", "description": "photons counted"})
            for place, block in frames.blocks():
                data[place] = block
                progress("DataExchange", (done + place.stop) / total)
            done += len(frames)
            exchange[f"theta{suffix}"] = np.nan_to_num(frames.angle_deg)
            exchange[f"theta{suffix}"].attrs["units"] = "degrees"
        _describe(file, scan)
        write_round_trip(file["measurement"], scan)


def _describe(file: h5py.File, scan: RawScan) -> None:
    geometry, provenance = scan.geometry, scan.provenance
    lengths_mm = {_PIXELS[0]: geometry.pixel_mm, _PIXELS[0].replace("_x", "_y"): geometry.pixel_mm}
    if isinstance(geometry, ConeGeometry):
        lengths_mm[_SOURCE] = geometry.source_object_mm
        lengths_mm[_CAMERA] = geometry.source_detector_mm - geometry.source_object_mm
    for name, length_mm in lengths_mm.items():
        file[name] = length_mm
        file[name].attrs["units"] = "mm"
    if scan.exposure_s is not None:
        file["measurement/instrument/detector/exposure_time"] = scan.exposure_s
        file["measurement/instrument/detector/exposure_time"].attrs["units"] = "s"
    file["measurement/sample/name"] = provenance.sample_name
    file["measurement/sample/experimenter/name"] = provenance.operator
    file["measurement/instrument/source/datetime"] = provenance.measured
    file["process/name"] = provenance.written_by
    file["process/about"] = provenance.as_text()


def holds_dataexchange(path: Path) -> bool:
    """Return whether an HDF5 file has the projections of this layout."""
    with h5py.File(path, "r") as file:
        return isinstance(file.get("exchange/data"), h5py.Dataset)


def read_dataexchange(path: Path) -> ForeignScan:
    """Read the description of a scan, without frames. Raises ValueError naming what is missing or wrong."""
    with h5py.File(path, "r") as file:
        round_trip = read_round_trip(file["measurement"]) if "measurement" in file else None
        frames: dict[str, ForeignFrames] = {}
        shape: tuple[int, int] | None = None
        for stream, suffix in SUFFIXES.items():
            name = f"exchange/data{suffix}"
            data = file.get(name)
            if data is None and stream == "dark":
                continue
            if not isinstance(data, h5py.Dataset) or data.ndim != 3 or data.dtype.kind not in "uif":
                raise ValueError(f"{path}: needs numbers (frame, row, column) in /{name}, got {_type_and_shape(data)}")
            if shape is not None and data.shape[1:] != shape:
                raise ValueError(f"{path}: /{name} has frames of {data.shape[1:]} pixels, /exchange/data has {shape}")
            shape = data.shape[1:]
            angles = _angles(file, path, f"exchange/theta{suffix}", len(data), stream == "primary")
            frames[stream] = ForeignFrames(f"/{name}", np.arange(len(data)), readings_of(round_trip, stream, angles))
        assert shape is not None
        return ForeignScan(
            path=path,
            format="DataExchange",
            entry="/exchange",
            shape=shape,
            frames=frames,
            lengths=Lengths(
                pixel_mm=next((size for name in _PIXELS if (size := _length_mm(file, name))), None),
                source_object_mm=_length_mm(file, _SOURCE),
                object_detector_mm=_length_mm(file, _CAMERA),
            ),
            metadata={
                "sample_name": _text(file, "measurement/sample/name") or path.stem,
                "title": _text(file, "exchange/title"),
                "measured": _text(file, "measurement/instrument/source/datetime"),
                "exposure_s": _number(file, "measurement/instrument/detector/exposure_time"),
            },
            round_trip=round_trip,
        )


def _angles(file: h5py.File, path: Path, name: str, count: int, needed: bool) -> NDArray[np.float64]:
    """Return angles in degrees; those of flats and darks are not used and may be missing."""
    theta = file.get(name)
    if not isinstance(theta, h5py.Dataset) or theta.shape != (count,) or theta.dtype.kind not in "uif":
        if needed:
            raise ValueError(f"{path}: needs {count} angles in /{name}, one per frame, got {_type_and_shape(theta)}")
        return np.zeros(count)
    angles = theta[...].astype(float)
    return np.degrees(angles) if str(theta.attrs.get("units", "deg")).lower().startswith("rad") else angles


def _length_mm(file: h5py.File, name: str) -> float | None:
    size = _number(file, name)
    if not size or not np.isfinite(size):
        return None
    return abs(size) * _MM.get(str(file[name].attrs.get("units", "mm")).lower(), 1.0)


def _number(file: h5py.File, name: str) -> float | None:
    entry = file.get(name)
    if not isinstance(entry, h5py.Dataset) or entry.dtype.kind not in "uif" or entry.size != 1:
        return None
    return float(np.ravel(entry[()])[0])


def _text(file: h5py.File, name: str) -> str:
    entry = file.get(name)
    if not isinstance(entry, h5py.Dataset) or h5py.check_string_dtype(entry.dtype) is None or entry.size != 1:
        return ""
    return str(np.ravel(entry.asstr()[()])[0])


def _type_and_shape(found: Any) -> str:
    return f"{found.dtype} {found.shape}" if isinstance(found, h5py.Dataset) else "nothing"
