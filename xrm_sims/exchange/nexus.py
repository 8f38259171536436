"""NXtomo (NeXus) through the library ``nxtomo``; frames are written block by block and stay in the file on import.

Image keys are 0 projection, 1 flat, 2 dark; drift references are -1 in ``image_key_control`` (0 in ``image_key``), the
library's key for images taken for alignment. The source's distance is negative, because it lies upstream of the
specimen (NXsource), the detector's positive. Rows of our detector run upwards and columns along +y; seen from above the
specimen turns counter-clockwise.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xrm_sims.exchange.foreign import ForeignFrames, ForeignScan, Lengths, readings_of
from xrm_sims.exchange.round_trip import read_round_trip, write_round_trip
from xrm_sims.exchange.scans import RawScan
from xrm_sims.exchange.writing import Progress, library, preallocated_hdf5
from xrm_sims.geometry import ConeGeometry

ENTRY = "entry"
KEYS = {"primary": 0, "flat": 1, "dark": 2, "reference": -1}
_DATA = "instrument/detector/data"


def write_nxtomo(scan: RawScan, path: Path, progress: Progress) -> None:
    """Write all frames of a scan as one NXtomo entry."""
    provenance = scan.provenance
    entry = _entry_without_frames(scan)
    entry.instrument.detector.data = np.zeros((1, 1, 1), scan.dtype)  # replaced by the frames below
    entry.save(str(path), data_path=ENTRY)
    with preallocated_hdf5(path, "r+", scan.nbytes) as file:
        group = file[ENTRY]
        attributes = dict(group[_DATA].attrs)
        del group[_DATA]
        shape = (len(scan.frames), *scan.shape)
        data = group.create_dataset(_DATA, shape, scan.dtype, chunks=(1, *scan.shape))
        data.attrs.update(attributes | {"units": "counts", "long_name": "photons counted"})
        for place, frames in scan.frames.blocks():
            data[place] = frames
            progress("NXtomo", place.stop / len(scan.frames))
        group.create_group("notes").attrs["NX_class"] = "NXnote"
        group["notes/data"] = provenance.as_text()
        group["notes/type"] = "text/plain"
        group["experiment_identifier"] = " ".join(provenance.run_uids)
        group["program_name"] = provenance.written_by
        write_round_trip(group, scan)


def _entry_without_frames(scan: RawScan) -> Any:
    """Return the library's NXtomo object with everything but the frames."""
    application = library("nxtomo.application.nxtomo")
    unit = library("pint").get_application_registry()
    first, geometry, count = scan.starts[0], scan.geometry, len(scan.frames)
    entry = application.NXtomo()
    entry.title = scan.provenance.title
    entry.start_time = datetime.fromtimestamp(first["time"], UTC)
    detector, source = entry.instrument.detector, entry.instrument.source
    detector.image_key_control = np.array([KEYS[stream] for stream in scan.streams])
    detector.x_pixel_size = detector.y_pixel_size = geometry.pixel_mm * 1e-3 * unit.meter
    if scan.exposure_s is not None:
        detector.count_time = np.full(count, scan.exposure_s) * unit.second
    entry.sample.name = scan.provenance.sample_name
    entry.sample.rotation_angle = np.nan_to_num(scan.frames.angle_deg) * unit.degree
    pitch_m = geometry.pixel_mm * 1e-3 / geometry.magnification
    entry.sample.x_pixel_size = entry.sample.y_pixel_size = pitch_m * unit.meter
    if isinstance(geometry, ConeGeometry):
        source.distance = -geometry.source_object_mm * 1e-3 * unit.meter
        detector.distance = (geometry.source_detector_mm - geometry.source_object_mm) * 1e-3 * unit.meter
    beam = first.get("beam", {})
    target = beam.get("target")
    source.name = f"electron beam on {target}" if target else None  # the library's own default is the ESRF
    source.type, source.probe = "Fixed Tube X-ray" if target else None, "x-ray"
    if "energy_kev" in beam:
        entry.instrument.beam.incident_energy = beam["energy_kev"] * unit.keV
    if np.isfinite(scan.frames.current_na).all():
        entry.control.data = scan.frames.current_na * unit.nanoampere
    return entry


def read_nxtomo(path: Path, entry: str | None = None) -> ForeignScan:
    """Read the description of a scan from an NXtomo file, without its frames.

    Parameters
    ----------
    entry : path of the NXtomo in the file; required when there are several.

    Raises
    ------
    ValueError naming what is missing or inconsistent.
    """
    name = _entry(path, entry)
    loaded = library("nxtomo.application.nxtomo").NXtomo().load(str(path), name, detector_data_as="as_data_url")
    detector, source = loaded.instrument.detector, loaded.instrument.source
    with h5py.File(path, "r") as file:
        data = file[name].get(_DATA) or file[name].get("data/data")
        if not isinstance(data, h5py.Dataset) or data.ndim != 3:
            raise ValueError(f"{path}: {name} has no frames (n, row, column) in {_DATA}")
        dataset, count, shape = data.name, len(data), tuple(data.shape[1:])
        round_trip = read_round_trip(file[name])
    if detector.image_key_control is None or loaded.sample.rotation_angle is None:
        raise ValueError(f"{path}: {name} has no image_key or no rotation_angle; needs one of each per frame")
    keys = np.array([key.value for key in detector.image_key_control])
    angles = np.atleast_1d(loaded.sample.rotation_angle.to("degree").magnitude).astype(float)
    columns = {"image_key": keys, "rotation_angle": angles}
    current = None if loaded.control is None or loaded.control.data is None else loaded.control.data.to("nA").magnitude
    if current is not None and len(current) == count:
        columns["control/data"] = np.asarray(current, float)
    for what, column in columns.items():
        if len(column) != count:
            raise ValueError(f"{path}: {what} has {len(column)} values for {count} frames; needs one per frame")
    currents = columns.get("control/data", np.full(count, np.nan))
    frames = {
        stream: ForeignFrames(
            dataset,
            np.flatnonzero(keys == key),
            readings_of(round_trip, stream, angles[keys == key], currents[keys == key]),
        )
        for stream, key in KEYS.items()
    }
    exposure = None if detector.count_time is None else float(np.median(detector.count_time.to("s").magnitude))
    return ForeignScan(
        path=path,
        format="NXtomo",
        entry=name,
        shape=shape,
        frames=frames,
        lengths=Lengths(
            pixel_mm=_length(detector.x_pixel_size, "mm"),
            specimen_pixel_um=_length(loaded.sample.x_pixel_size, "um"),
            source_object_mm=_length(source.distance if source else None, "mm"),
            object_detector_mm=_length(detector.distance, "mm"),
            synchrotron=source is not None and source.type is not None and "ynchrotron" in source.type.value,
        ),
        metadata={
            "sample_name": loaded.sample.name or path.stem,
            "title": loaded.title or "",
            "measured": _iso_time(loaded.start_time),
            "energy_kev": _length(loaded.instrument.beam.incident_energy if loaded.instrument.beam else None, "keV"),
            "exposure_s": exposure,
        },
        round_trip=round_trip,
    )


def nxtomo_entries(path: Path) -> list[str]:
    """Return the paths of the NXtomo entries in an HDF5 file."""
    return list(library("nxtomo.application.nxtomo").NXtomo.get_valid_entries(str(path)))


def _entry(path: Path, wanted: str | None) -> str:
    entries = nxtomo_entries(path)
    if wanted is not None and f"/{wanted.strip('/')}" not in entries:
        raise ValueError(f"{path}: has no NXtomo {wanted!r}; it has {', '.join(entries)}")
    if wanted is None and len(entries) > 1:
        raise ValueError(f"{path}: holds several NXtomo, choose one with --entry: {', '.join(entries)}")
    return entries[0] if wanted is None else f"/{wanted.strip('/')}"


def _length(quantity: Any, unit: str) -> float | None:
    """Return the absolute value in a unit, because distances may be negative; None if unknown."""
    if quantity is None:
        return None
    size = abs(float(np.atleast_1d(quantity.to(unit).magnitude)[0]))
    return size if np.isfinite(size) and size > 0 else None


def _iso_time(time: datetime | str | None) -> str:
    return time.isoformat() if isinstance(time, datetime) else str(time or "")
