"""Data of a scan that its file format has no field for, so that this package can import the file unchanged.

The group ``xrm_sims`` holds the start documents and the detector's configuration as JSON, and for each stream the
angles, beam currents and times of the frames, bit for bit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xrm_sims.exchange.scans import STREAMS, RawScan

GROUP = "xrm_sims"
READINGS = {"rotation_angle_deg": "angle_deg", "beam_current_na": "current_na", "instrument_time_s": "time_s"}


@dataclass(frozen=True)
class RoundTrip:
    """Contents of the group; ``readings[stream][key]`` has one value (n,) for each frame, in the order of the file."""

    starts: list[dict[str, Any]]
    configuration: dict[str, Any]
    readings: dict[str, dict[str, NDArray[np.float64]]]


def write_round_trip(parent: h5py.Group, scan: RawScan) -> None:
    """Write the group ``xrm_sims`` of a scan."""
    group = parent.create_group(GROUP)
    group.attrs.update({"NX_class": "NXcollection", "description": "as xrm-sims recorded it; for reading it back"})
    group["about"] = json.dumps(scan.provenance.as_dict())
    group["start_documents"] = json.dumps(scan.starts)
    group["configuration"] = json.dumps(scan.configuration)
    for stream in STREAMS:
        frames = scan.of(stream)
        for key, column in READINGS.items():
            group[f"{stream}/{key}"] = getattr(frames, column)


def read_round_trip(parent: h5py.Group) -> RoundTrip | None:
    """Return the group's contents; None in a file of other software.

    Raises KeyError, TypeError or ValueError when the group is damaged.
    """
    if GROUP not in parent:
        return None
    group = parent[GROUP]
    readings = {stream: {key: group[f"{stream}/{key}"][...] for key in READINGS} for stream in STREAMS}
    return RoundTrip(
        json.loads(group["start_documents"].asstr()[()]), json.loads(group["configuration"].asstr()[()]), readings
    )
