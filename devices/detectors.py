"""The detectors that are triggered and read: WidePIX, secondary electrons, EDS."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ophyd import Kind

from devices.drivers import Frame
from devices.frames import FrameDetector
from devices.quantity import readback, setting


class WidePIX(FrameDetector):
    """Photon-counting X-ray camera; frames (row, column) after binning, counts.

    Its configuration carries the bad pixels as flat indices (row * columns + column).
    """

    frame_key = "widepix_image"
    current_key = "beam_current_na"

    exposure_s = setting("exposure_s", egu="s", limits=lambda s: (1e-3, s.detector.max_exposure_s))
    threshold_kev = setting("threshold_kev", egu="keV", limits=lambda s: (0.0, s.electron.voltage_limits_kv[1]))
    counter_depth_bits = setting("counter_depth_bits", egu="bit", limits=lambda s: (1, 24))
    binning = setting("binning", limits=lambda s: (1, s.detector.rows))
    rows = readback("rows", kind=Kind.config)
    columns = readback("columns", kind=Kind.config)

    def frame_shape(self) -> tuple[int, ...]:
        return int(self.rows.get()), int(self.columns.get())

    def acquire(self) -> Frame:
        return self.channel.driver.expose()

    @property
    def pixel_mm(self) -> float:
        """Pitch after binning."""
        return self.settings.detector.pixel_mm * int(self.binning.get())

    def bad_pixels(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(rows, columns), True where the pixel is of no use."""
        return np.asarray(self.channel.read(self.channel.driver.bad_pixels, np.zeros(self.frame_shape(), bool)))

    def read_configuration(self) -> dict[str, Any]:
        now = time.time()
        bad = np.flatnonzero(self.bad_pixels()).tolist()
        return super().read_configuration() | {
            "widepix_pixel_mm": {"value": self.pixel_mm, "timestamp": now},
            "widepix_bad_pixels": {"value": bad, "timestamp": now},
        }

    def describe_configuration(self) -> dict[str, Any]:
        source = f"driver:{self.name}"
        return super().describe_configuration() | {
            "widepix_pixel_mm": {"source": source, "dtype": "number", "shape": [], "units": "mm"},
            "widepix_bad_pixels": {
                "source": source,
                "dtype": "array",
                "shape": [int(np.count_nonzero(self.bad_pixels()))],
            },
        }


class SecondaryElectronDetector(FrameDetector):
    """Image (row, column) from electrons that either beam frees; ``source`` says which beam scans."""

    frame_key = "se_image"
    current_key = "se_current_na"

    source = setting("source", choices=lambda s: ("electron", "ion"))
    fov_um = setting("fov_um", egu="um", limits=lambda s: (0.01, s.electron.max_scan_field_um))
    rows = setting("rows", limits=lambda s: (2, 16384))
    columns = setting("columns", limits=lambda s: (2, 16384))
    dwell_us = setting("dwell_us", egu="us", limits=lambda s: (0.01, 1e6))
    centre_u_um = setting("centre_u_um", egu="um")
    centre_v_um = setting("centre_v_um", egu="um")

    def frame_shape(self) -> tuple[int, ...]:
        return int(self.rows.get()), int(self.columns.get())

    def acquire(self) -> Frame:
        return self.channel.driver.image()


class EDSDetector(FrameDetector):
    """Counts (element, row, column) of characteristic X-rays; ``elements`` as "Ni,Co,C"."""

    frame_key = "eds_counts"
    current_key = "eds_current_na"

    elements = setting("elements")
    fov_um = setting("fov_um", egu="um", limits=lambda s: (0.01, s.electron.max_scan_field_um))
    rows = setting("rows", limits=lambda s: (2, 16384))
    columns = setting("columns", limits=lambda s: (2, 16384))
    dwell_ms = setting("dwell_ms", egu="ms", limits=lambda s: (1e-3, 1e6))
    centre_u_um = setting("centre_u_um", egu="um")
    centre_v_um = setting("centre_v_um", egu="um")

    def frame_shape(self) -> tuple[int, ...]:
        return len(str(self.elements.get()).split(",")), int(self.rows.get()), int(self.columns.get())

    def acquire(self) -> Frame:
        return self.channel.driver.image()
