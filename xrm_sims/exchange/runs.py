"""Documents of imported runs, composed and validated by event-model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from event_model import StreamRange, compose_run, compose_stream_resource

from xrm_sims.data.arrays import PROJECTION_KEY, READING_UNITS
from xrm_sims.data.frames import MIMETYPE
from xrm_sims.exchange.foreign import ForeignFrames, ForeignScan
from xrm_sims.exchange.provenance import iso
from xrm_sims.exchange.store import FrameFile
from xrm_sims.geometry import Geometry
from xrm_sims.scan_type import ScanType

KEPT_KEYS = ("sample_name", "beam", "exposure_s", "num_projections", "step_deg", "licence", "versions")
Document = tuple[str, Any]  # a document is a typed dict of event-model's


def scan_documents(
    scan: ForeignScan, geometry: Geometry, files: Mapping[str, FrameFile], metadata: Mapping[str, Any], linked: bool
) -> Iterator[Document]:
    """Yield the documents of a tomography run. ``metadata`` replaces that of the file."""
    angles = geometry.angles_deg
    round_trip = scan.round_trip
    start = {
        **_metadata_from_file(scan),
        **metadata,
        "plan_name": "import",
        "scan_type": ScanType.TOMOGRAPHY.value,
        "detectors": ["widepix"],
        "motors": ["rotation_angle_deg"],
        "num_points": len(angles),
        "geometry": geometry.as_dict(),
        "view_indices": list(range(len(angles))),
        "hints": {"dimensions": [(["rotation_angle_deg"], "primary")]},
        "imported": {
            **origin(scan.path.name, scan.format, linked),
            "entry": scan.entry,
            "measured": iso(round_trip.starts[0]["time"]) if round_trip else scan.metadata.get("measured") or "",
            "run_uids": [one["uid"] for one in round_trip.starts] if round_trip else [],
        },
    }
    start.setdefault("num_projections", len(angles))
    run = compose_run(metadata=start, validate=True)
    yield "start", run.start_doc
    for stream, file in files.items():
        configuration = round_trip.configuration if round_trip else {}
        yield from _stream(run, stream, scan.frames[stream], file, configuration)
    yield "stop", run.compose_stop()


def origin(name: str, form: str, linked: bool) -> dict[str, Any]:
    """Return the origin of an imported run."""
    version = importlib.metadata.version("xrm-sims")
    return {"file": name, "format": form, "linked": linked, "imported_by": f"xrm-sims {version}"}


def stack_documents(uid: str, start: Mapping[str, Any], key: str, file: FrameFile | None) -> Iterator[Document]:
    """Yield the documents of a run of frames alone, such as a raster; without a file only start and stop."""
    run = compose_run(uid=uid, metadata=dict(start), validate=True)
    yield "start", run.start_doc
    if file is not None:
        bundle = run.compose_descriptor(name="primary", data_keys={key: _image_key(file)}, object_keys={key: [key]})
        yield "descriptor", bundle.descriptor_doc
        yield from _frames(run, bundle, key, file)
    yield "stop", {**run.compose_stop(), "num_events": {} if file is None else {"primary": file.count}}


def _metadata_from_file(scan: ForeignScan) -> dict[str, Any]:
    if scan.round_trip is not None:
        first = scan.round_trip.starts[0]
        return {key: first[key] for key in KEPT_KEYS if key in first}
    metadata = scan.metadata
    start: dict[str, Any] = {"sample_name": metadata.get("sample_name", scan.path.stem)}
    if metadata.get("exposure_s"):
        start["exposure_s"] = metadata["exposure_s"]
    if metadata.get("energy_kev"):
        start["beam"] = {"energy_kev": metadata["energy_kev"]}
    return start


def _stream(
    run: Any, stream: str, frames: ForeignFrames, file: FrameFile, configuration: dict[str, Any]
) -> Iterator[Document]:
    readings = {key: np.asarray(values, float).tolist() for key, values in frames.readings.items()}
    numbers = {
        key: {"source": "import", "dtype": "number", "shape": [], "units": READING_UNITS[key]} for key in readings
    }
    bundle = run.compose_descriptor(
        name=stream, data_keys={PROJECTION_KEY: _image_key(file), **numbers}, configuration=configuration
    )
    yield "descriptor", bundle.descriptor_doc
    yield from _frames(run, bundle, PROJECTION_KEY, file)
    stamps = dict.fromkeys(readings, run.start_doc["time"])
    for n in range(file.count):
        data = {key: values[n] for key, values in readings.items()}
        yield "event", bundle.compose_event(data=data, timestamps=stamps, seq_num=n + 1)


def _frames(run: Any, bundle: Any, key: str, file: FrameFile) -> Iterator[Document]:
    resource = compose_stream_resource(
        mimetype=MIMETYPE, uri=file.uri, data_key=key, parameters=file.parameters, start=run.start_doc
    )
    yield "stream_resource", resource.stream_resource_doc
    yield (
        "stream_datum",
        resource.compose_stream_datum(
            StreamRange(start=0, stop=file.count), StreamRange(start=1, stop=file.count + 1), bundle.descriptor_doc
        ),
    )


def _image_key(file: FrameFile) -> dict[str, Any]:
    return {
        "source": "import",
        "dtype": "array",
        "dtype_numpy": file.dtype.str,
        "shape": list(file.frame_shape),
        "external": "STREAM:",
        "units": "counts",
    }
