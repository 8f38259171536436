"""Documents of imported runs, composed and validated by event-model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from event_model import StreamRange, compose_run, compose_stream_resource

from xrm_sims.exchange.foreign import ForeignFrames, ForeignScan
from xrm_sims.exchange.provenance import iso
from xrm_sims.exchange.store import FrameFile
from xrm_sims.geometry import Geometry
from xrm_sims.scan_type import ScanType

IMAGE_KEY = "widepix_image"
UNITS = {"rotation_angle_deg": "deg", "beam_current_na": "nA", "instrument_time_s": "s"}
CARRIED = ("sample_name", "beam", "exposure_s", "num_projections", "step_deg", "licence", "versions")
Document = tuple[str, Any]  # a document is a typed dict of event-model's


def scan_documents(
    scan: ForeignScan,
    geometry: Geometry,
    files: Mapping[str, FrameFile],
    said: Mapping[str, Any],
    linked: bool,
) -> Iterator[Document]:
    """Yield the documents of a tomography run. ``said`` replaces sample, operator and licence of the file."""
    angles = geometry.angles_deg
    kept = scan.kept
    start = {
        **({key: kept.starts[0][key] for key in CARRIED if key in kept.starts[0]} if kept else _told(scan)),
        **said,
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
            "measured": iso(kept.starts[0]["time"]) if kept else scan.about.get("measured") or "",
            "run_uids": [one["uid"] for one in kept.starts] if kept else [],
        },
    }
    start.setdefault("num_projections", len(angles))
    run = compose_run(metadata=start, validate=True)
    yield "start", run.start_doc
    for stream, file in files.items():
        configuration = kept.configuration if kept else {}
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


def _told(scan: ForeignScan) -> dict[str, Any]:
    about = scan.about
    told: dict[str, Any] = {"sample_name": about.get("sample_name", scan.path.stem)}
    if about.get("exposure_s"):
        told["exposure_s"] = about["exposure_s"]
    if about.get("energy_kev"):
        told["beam"] = {"energy_kev": about["energy_kev"]}
    return told


def _stream(
    run: Any, stream: str, frames: ForeignFrames, file: FrameFile, configuration: dict[str, Any]
) -> Iterator[Document]:
    readings = {key: np.asarray(values, float).tolist() for key, values in frames.readings.items()}
    numbers = {key: {"source": "import", "dtype": "number", "shape": [], "units": UNITS[key]} for key in readings}
    bundle = run.compose_descriptor(
        name=stream, data_keys={IMAGE_KEY: _image_key(file), **numbers}, configuration=configuration
    )
    yield "descriptor", bundle.descriptor_doc
    yield from _frames(run, bundle, IMAGE_KEY, file)
    stamps = dict.fromkeys(readings, run.start_doc["time"])
    for n in range(file.count):
        data = {key: values[n] for key, values in readings.items()}
        yield "event", bundle.compose_event(data=data, timestamps=stamps, seq_num=n + 1)


def _frames(run: Any, bundle: Any, key: str, file: FrameFile) -> Iterator[Document]:
    resource = compose_stream_resource(
        mimetype=file.mimetype, uri=file.uri, data_key=key, parameters=file.parameters, start=run.start_doc
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
        "shape": list(file.shape),
        "external": "STREAM:",
        "units": "counts",
    }
