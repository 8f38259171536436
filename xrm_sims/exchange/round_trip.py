"""What a scan file keeps for whoever reads it back with this package, beside what its format has a place for.

A group ``xrm_sims``: the start documents and the detector's configuration as JSON, and by stream the angles, beam
currents and times of the frames as they were read, in our units, bit for bit.
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
class Keepsake:
    """``readings[stream][key]`` is (n,) of that stream's frames in the order of the file."""

    starts: list[dict[str, Any]]
    configuration: dict[str, Any]
    readings: dict[str, dict[str, NDArray[np.float64]]]


def write_keepsake(parent: h5py.Group, scan: RawScan) -> None:
    group = parent.create_group(GROUP)
    group.attrs.update({"NX_class": "NXcollection", "description": "as xrm-sims recorded it; for reading it back"})
    group["about"] = json.dumps(scan.about.as_dict())
    group["start_documents"] = json.dumps(scan.starts)
    group["configuration"] = json.dumps(scan.configuration)
    for stream in STREAMS:
        frames = scan.of(stream)
        for key, column in READINGS.items():
            group[f"{stream}/{key}"] = getattr(frames, column)


def read_keepsake(parent: h5py.Group) -> Keepsake | None:
    """None in a file that others made. Raises KeyError, TypeError or ValueError when it is damaged."""
    if GROUP not in parent:
        return None
    group = parent[GROUP]
    readings = {stream: {key: group[f"{stream}/{key}"][...] for key in READINGS} for stream in STREAMS}
    return Keepsake(
        json.loads(group["start_documents"].asstr()[()]), json.loads(group["configuration"].asstr()[()]), readings
    )
