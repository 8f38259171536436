"""Detectors that are triggered and read: WidePIX, secondary electrons, EDS."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ophyd import Kind

from devices.columns import half
from devices.drivers import Frame
from devices.frames import FrameDetector
from devices.quantity import readback, setting


class WidePIX(FrameDetector):
    """Photon-counting X-ray camera; frames (row, column) of counts, after binning.

    The configuration lists bad pixels as flat indices (row * columns + column).
    """

    frame_key = "widepix_image"
    current_key = "beam_current_na"

    exposure_s = setting("exposure_s", egu="s", limits=lambda s: (s.detector.min_exposure_s, s.detector.max_exposure_s))
    threshold_kev = setting("threshold_kev", egu="keV", limits=lambda s: s.detector.threshold_limits_kev)
    counter_depth_bits = setting("counter_depth_bits", egu="bit", choices=lambda s: (12, 24))
    binning = setting("binning", choices=lambda s: s.detector.binnings)
    rows = readback("rows", kind=Kind.config)
    columns = readback("columns", kind=Kind.config)
    temperature_c = readback("temperature_c", egu="degC", kind=Kind.config)

    def frame_shape(self) -> tuple[int, ...]:
        return int(self.rows.get()), int(self.columns.get())

    def acquire(self) -> Frame:
        frame: Frame = self.channel.driver.expose()
        return frame

    @property
    def pixel_mm(self) -> float:
        """Pixel pitch after binning."""
        return self.settings.detector.pixel_mm * int(self.binning.get())

    def bad_pixels(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (rows, columns), True for bad pixels."""
        with self.worker.lock:
            return np.asarray(self.channel.driver.bad_pixels())

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
    """Secondary-electron image (row, column); ``source`` is the beam that scans."""

    frame_key = "se_image"
    current_key = "se_current_na"

    source = setting("source", choices=lambda s: ("electron", "ion"))
    fov_um = setting("fov_um", egu="um", limits=lambda s: (s.scan.min_field_um, s.electron.max_scan_field_um))
    rows = setting("rows", limits=lambda s: s.scan.pixels)
    columns = setting("columns", limits=lambda s: s.scan.pixels)
    dwell_us = setting(
        "dwell_us", egu="us", limits=lambda s: (1e3 * s.scan.dwell_limits_ms[0], 1e3 * s.scan.dwell_limits_ms[1])
    )
    centre_u_um = setting("centre_u_um", egu="um", limits=lambda s: half(s.electron.max_scan_field_um))
    centre_v_um = setting("centre_v_um", egu="um", limits=lambda s: half(s.electron.max_scan_field_um))

    def frame_shape(self) -> tuple[int, ...]:
        return int(self.rows.get()), int(self.columns.get())

    def acquire(self) -> Frame:
        frame: Frame = self.channel.driver.image()
        return frame


class EDSDetector(FrameDetector):
    """Counts (element, row, column) of characteristic X-rays; ``elements`` is text such as "Ni,Co,C"."""

    frame_key = "eds_counts"
    current_key = "eds_current_na"

    elements = setting("elements")
    fov_um = setting("fov_um", egu="um", limits=lambda s: (s.scan.min_field_um, s.electron.max_scan_field_um))
    rows = setting("rows", limits=lambda s: s.scan.pixels)
    columns = setting("columns", limits=lambda s: s.scan.pixels)
    dwell_ms = setting("dwell_ms", egu="ms", limits=lambda s: s.scan.dwell_limits_ms)
    centre_u_um = setting("centre_u_um", egu="um", limits=lambda s: half(s.electron.max_scan_field_um))
    centre_v_um = setting("centre_v_um", egu="um", limits=lambda s: half(s.electron.max_scan_field_um))

    def frame_shape(self) -> tuple[int, ...]:
        return len(str(self.elements.get()).split(",")), int(self.rows.get()), int(self.columns.get())

    def acquire(self) -> Frame:
        frame: Frame = self.channel.driver.image()
        return frame
