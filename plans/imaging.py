"""SE images and EDS maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps

from plans.instrument import Column, Quantity, ScanningDetector, Scope, Values
from plans.preflight import Estimate
from plans.stubs import Plan, check_values, record
from plans.validation import choice, count, finite, pair, positive
from xrm_sims.feasibility import check_lines
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings

COUNT_BYTES = 4


@dataclass(frozen=True)
class Scan:
    """A field that a beam scans once for the detector ``se`` or ``eds``."""

    detector: str
    fov_um: float
    shape: tuple[int, int]
    dwell_s: float
    centre_um: tuple[float, float]
    source: str = "electron"
    elements: tuple[str, ...] = ()

    def device(self, scope: Scope) -> ScanningDetector:
        return scope.eds if self.detector == "eds" else scope.se

    def optics(self, scope: Scope) -> Values:
        detector = self.device(scope)
        field: dict[Quantity[Any], Any] = {
            detector.fov_um: self.fov_um,
            detector.rows: self.shape[0],
            detector.columns: self.shape[1],
            detector.centre_u_um: self.centre_um[0],
            detector.centre_v_um: self.centre_um[1],
        }
        if self.detector == "eds":
            field |= {scope.eds.elements: ",".join(self.elements), scope.eds.dwell_ms: 1e3 * self.dwell_s}
        else:
            field |= {scope.se.source: self.source, scope.se.dwell_us: 1e6 * self.dwell_s}
        if self.source == "ion":
            ion = scope.settings.ion
            return {**field, scope.fib.voltage_kv: ion.voltage_kv, scope.fib.current_pa: ion.current_pa}
        sem = scope.settings.electrons
        return {**field, scope.beam.voltage_kv: sem.voltage_kv, scope.beam.current_na: sem.current_na}

    def check(self, scope: Scope) -> None:
        """ValueError when the field leaves the beam's scan field or a value is outside a limit."""
        settings = scope.settings
        positive(fov_um=self.fov_um, dwell_s=self.dwell_s)
        count(2, rows=self.shape[0], columns=self.shape[1])
        finite(centre_u_um=self.centre_um[0], centre_v_um=self.centre_um[1])
        choice("source", self.source, ("electron", "ion"))
        ions = self.source == "ion"
        field_um = settings.ion.max_scan_field_um if ions else settings.electron.max_scan_field_um
        reach_um = self.fov_um + 2 * max(map(abs, self.centre_um))
        if reach_um > field_um:
            raise ValueError(f"fov_um: reaches {reach_um:.4g} um across the scan centre, the field is {field_um:g} um")
        check_lines(settings, self.elements, settings.electrons.voltage_kv)
        check_values(self.optics(scope))

    def estimate(self, settings: Settings) -> Estimate:
        rows, columns = self.shape
        time_s = rows * columns * self.dwell_s
        ions = self.source == "ion"
        current_na = settings.ion.current_pa * 1e-3 if ions else settings.electrons.current_na
        dose_nc = current_na * time_s
        eroded_um3 = dose_nc * settings.sputtering.rate_lco_um3_per_nc if ions else 0.0
        return Estimate(
            time_s=time_s,
            dose_nc=dose_nc,
            dose_on="specimen",
            eroded_nm=1e3 * eroded_um3 / (self.fov_um**2 * rows / columns),
            disk_bytes=max(1, len(self.elements)) * rows * columns * COUNT_BYTES,
        )


def se_request(
    settings: Settings,
    *,
    fov_um: float,
    shape: Sequence[int] = (512, 512),
    dwell_us: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
    source: str = "electron",
) -> Scan:
    """Return the arguments of :func:`se_image`, unchecked."""
    return Scan("se", fov_um, pair("shape", shape), dwell_us * 1e-6, pair("centre_um", centre_um), source)


def se_image(
    scope: Scope,
    *,
    fov_um: float,
    shape: Sequence[int] = (512, 512),
    dwell_us: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
    source: str = "electron",
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Take a secondary-electron image (row, column) with the electron beam (sem mode) or the ion beam (fib mode).

    Parameters
    ----------
    fov_um, shape, centre_um : field width, (rows, columns), centre (u, v) in the scan frame of that beam.
    dwell_us : per pixel.
    source : "electron" or "ion"; the ion beam erodes the surface a little.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError before anything moves.

    Example
    -------
    >>> RE(se_image(scope, fov_um=50.0, shape=(512, 512)))
    """
    scan = se_request(scope.settings, fov_um=fov_um, shape=shape, dwell_us=dwell_us, centre_um=centre_um, source=source)
    plan = {"plan_name": "se_image", "scan_type": ScanType.SE_IMAGE.value, "dwell_us": dwell_us, "source": source}
    return (yield from _image(scope, scan, plan, md))


def eds_request(
    settings: Settings,
    *,
    elements: Sequence[str],
    fov_um: float,
    shape: Sequence[int] = (128, 128),
    dwell_ms: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
) -> Scan:
    """Return the arguments of :func:`eds_map`, unchecked. ValueError when ``elements`` are no chemical symbols."""
    names = (elements,) if isinstance(elements, str) else tuple(elements)
    if not names or not all(isinstance(name, str) and name.isalpha() for name in names):
        raise ValueError(f"elements: needs chemical symbols such as Ni, Co, C, got {elements!r}")
    field = pair("shape", shape), dwell_ms * 1e-3, pair("centre_um", centre_um)
    return Scan("eds", fov_um, *field, elements=names)


def eds_map(
    scope: Scope,
    *,
    elements: Sequence[str],
    fov_um: float,
    shape: Sequence[int] = (128, 128),
    dwell_ms: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Take maps (element, row, column) of characteristic X-rays under the electron beam.

    Parameters
    ----------
    elements : for example ("Ni", "Co", "C").
    fov_um, shape, centre_um : field width, (rows, columns), centre (u, v) in the scan frame of the electron beam.
    dwell_ms : per pixel.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError before anything moves.

    Example
    -------
    >>> RE(eds_map(scope, elements=("Ni", "Co"), fov_um=20.0))
    """
    scan = eds_request(
        scope.settings, elements=elements, fov_um=fov_um, shape=shape, dwell_ms=dwell_ms, centre_um=centre_um
    )
    plan = {
        "plan_name": "eds_map",
        "scan_type": ScanType.EDS_MAP.value,
        "dwell_ms": dwell_ms,
        "elements": list(scan.elements),
    }
    return (yield from _image(scope, scan, plan, md))


def _image(scope: Scope, scan: Scan, plan: Mapping[str, Any], md: Mapping[str, Any] | None) -> Plan[str]:
    scan.check(scope)
    detector, ions = scan.device(scope), scan.source == "ion"
    column: Column = scope.fib if ions else scope.beam

    def measure() -> Plan[None]:
        yield from bps.prepare(detector, ("primary", 0), wait=True)
        yield from bps.mv(column.blanked, False)
        yield from bps.trigger(detector, wait=True)
        yield from bps.mv(column.blanked, True)
        yield from bps.create("primary")
        yield from bps.read(detector)
        yield from bps.save()

    def describe() -> dict[str, Any]:
        return {
            **plan,
            "detectors": [detector.name],
            "num_points": 1,
            "hints": {},
            "fov_um": scan.fov_um,
            "shape": list(scan.shape),
            "centre_um": list(scan.centre_um),
            "pixel_um": scan.fov_um / scan.shape[1],
        }

    mode = "fib" if ions else "sem"
    return (yield from record(scope, mode, scan.optics(scope), measure(), [detector], describe, md))
