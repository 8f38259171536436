"""One image: secondary electrons, or characteristic X-rays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps

from plans.metadata import check_md, start_md
from plans.preflight import Estimate
from plans.stubs import Plan, apply, check_values, enter_mode, record
from plans.validation import choice, count, finite, positive
from xrm_sims.settings import Settings

COUNT_BYTES = 4


@dataclass(frozen=True)
class Scan:
    """A field that a beam scans once, with ``layers`` counts per pixel."""

    fov_um: float
    shape: tuple[int, int]
    dwell_s: float
    centre_um: tuple[float, float]
    source: str = "electron"
    layers: int = 1

    def check(self, settings: Settings) -> None:
        """ValueError when the field is larger than the beam's scan field."""
        positive(fov_um=self.fov_um, dwell=self.dwell_s)
        count(2, rows=self.shape[0], columns=self.shape[1])
        finite(centre_u_um=self.centre_um[0], centre_v_um=self.centre_um[1])
        choice("source", self.source, ("electron", "ion"))
        ions = self.source == "ion"
        field_um = settings.ion.max_scan_field_um if ions else settings.electron.max_scan_field_um
        reach_um = self.fov_um + 2 * max(map(abs, self.centre_um))
        if reach_um > field_um:
            raise ValueError(
                f"fov_um: reaches {reach_um:.4g} um across the scan centre, the field is {field_um:.4g} um"
            )

    def estimate(self, settings: Settings) -> Estimate:
        self.check(settings)
        rows, columns = self.shape
        time_s = rows * columns * self.dwell_s
        current_na = settings.ion.current_pa * 1e-3 if self.source == "ion" else settings.electrons.current_na
        dose_nc = current_na * time_s
        area_um2 = self.fov_um**2 * rows / columns
        rate = settings.sputtering.rate_lco_um3_per_nc if self.source == "ion" else 0.0
        return Estimate(
            time_s=time_s,
            dose_nc=dose_nc,
            dose_on="specimen",
            eroded_nm=1e3 * dose_nc * rate / area_um2,
            disk_bytes=self.layers * rows * columns * COUNT_BYTES,
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
    """The arguments of :func:`se_image`, not yet checked."""
    return Scan(fov_um, (shape[0], shape[1]), dwell_us * 1e-6, (centre_um[0], centre_um[1]), source)


def se_image(
    scope: Any,
    *,
    fov_um: float,
    shape: Sequence[int] = (512, 512),
    dwell_us: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
    source: str = "electron",
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """A secondary-electron image (row, column), scanned by the electron beam (sem mode) or the ion beam (fib mode).

    Parameters
    ----------
    fov_um, shape, centre_um : field width, (rows, columns), centre (u, v) in the scan frame of that beam.
    dwell_us : per pixel.
    source : "electron" or "ion"; an image with ions costs a little of the surface.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError in one sentence before anything moves.
    """
    scan = se_request(scope.settings, fov_um=fov_um, shape=shape, dwell_us=dwell_us, centre_um=centre_um, source=source)
    optics = {scope.se.source: source, scope.se.dwell_us: dwell_us}
    words = {"plan_name": "se_image", "scan_type": "se_image", "dwell_us": dwell_us, "source": source}
    return (yield from _image(scope, scope.se, scan, optics, words, md))


def eds_request(
    settings: Settings,
    *,
    elements: Sequence[str],
    fov_um: float,
    shape: Sequence[int] = (128, 128),
    dwell_ms: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
) -> Scan:
    """The arguments of :func:`eds_map`, not yet checked."""
    return Scan(fov_um, (shape[0], shape[1]), dwell_ms * 1e-3, (centre_um[0], centre_um[1]), layers=len(elements))


def eds_map(
    scope: Any,
    *,
    elements: Sequence[str],
    fov_um: float,
    shape: Sequence[int] = (128, 128),
    dwell_ms: float = 10.0,
    centre_um: Sequence[float] = (0.0, 0.0),
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Maps (element, row, column) of characteristic X-rays under the electron beam.

    Parameters
    ----------
    elements : for example ("Ni", "Co", "C").
    fov_um, shape, centre_um : field width, (rows, columns), centre (u, v) in the SEM's scan frame.
    dwell_ms : per pixel.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError in one sentence before anything moves.
    """
    names = (elements,) if isinstance(elements, str) else tuple(elements)
    if not names or not all(isinstance(name, str) and name.isalpha() for name in names):
        raise ValueError(f"elements: needs chemical symbols such as Ni, Co, C, got {elements!r}")
    scan = eds_request(
        scope.settings, elements=names, fov_um=fov_um, shape=shape, dwell_ms=dwell_ms, centre_um=centre_um
    )
    optics = {scope.eds.elements: ",".join(names), scope.eds.dwell_ms: dwell_ms}
    words = {"plan_name": "eds_map", "scan_type": "eds_map", "dwell_ms": dwell_ms, "elements": list(names)}
    return (yield from _image(scope, scope.eds, scan, optics, words, md))


def _image(
    scope: Any,
    detector: Any,
    scan: Scan,
    optics: Mapping[Any, Any],
    words: Mapping[str, Any],
    md: Mapping[str, Any] | None,
) -> Plan[str]:
    settings: Settings = scope.settings
    scan.check(settings)
    check_md(md)
    ions = scan.source == "ion"
    if ions:
        column, column_optics = (
            scope.fib,
            {scope.fib.voltage_kv: settings.ion.voltage_kv, scope.fib.current_pa: settings.ion.current_pa},
        )
    else:
        column, column_optics = (
            scope.beam,
            {
                scope.beam.voltage_kv: settings.electrons.voltage_kv,
                scope.beam.current_na: settings.electrons.current_na,
            },
        )
    field = {
        detector.fov_um: scan.fov_um,
        detector.rows: scan.shape[0],
        detector.columns: scan.shape[1],
        detector.centre_u_um: scan.centre_um[0],
        detector.centre_v_um: scan.centre_um[1],
    }
    everything = {**column_optics, **field, **optics}
    check_values(everything)

    def setup() -> Plan[None]:
        yield from enter_mode(scope, "fib" if ions else "sem")
        yield from apply(everything)

    def measure() -> Plan[None]:
        yield from bps.prepare(detector, ("primary", 0), wait=True)
        yield from bps.mv(column.blanked, False)
        yield from bps.trigger(detector, wait=True)
        yield from bps.mv(column.blanked, True)
        yield from bps.create("primary")
        yield from bps.read(detector)
        yield from bps.save()

    def describe() -> dict[str, Any]:
        plan = {
            **words,
            "detectors": [detector.name],
            "num_points": 1,
            "hints": {},
            "fov_um": scan.fov_um,
            "shape": list(scan.shape),
            "centre_um": list(scan.centre_um),
            "pixel_um": scan.fov_um / scan.shape[1],
        }
        return start_md(scope, plan, md)

    return (yield from record(scope, setup(), measure(), [detector], describe))
