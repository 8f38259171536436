"""SIMS rasters: the gallium beam scans a field, the sector counts secondary ions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp

from plans.instrument import Scope, Values
from plans.metadata import link_to
from plans.preflight import Estimate
from plans.stubs import NothingLeftError, Plan, check_values, record
from plans.validation import count, pair, positive
from xrm_sims.patterns import Raster, check_within_field
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings

COUNT_BYTES = 4


@dataclass(frozen=True)
class SimsRaster:
    """A raster, the beam that draws it, the stage bias, and the isotopes to count.

    ``channels`` None does not move the collectors.
    """

    raster: Raster
    frames: int
    current_pa: float
    bias_v: float
    voltage_kv: float
    channels: tuple[str | float, ...] | None = None

    def optics(self, scope: Scope) -> Values:
        fib, raster = scope.fib, self.raster
        return {
            scope.stage.bias_v: self.bias_v,
            fib.voltage_kv: self.voltage_kv,
            fib.current_pa: self.current_pa,
            fib.fov_um: raster.fov_um,
            fib.rows: raster.shape[0],
            fib.columns: raster.shape[1],
            fib.dwell_ms: raster.dwell_ms,
            fib.centre_u_um: raster.centre_um[0],
            fib.centre_v_um: raster.centre_um[1],
        }

    @property
    def frame_dose_nc(self) -> float:
        """Dose of one frame on the specimen."""
        return self.current_pa * 1e-3 * self.raster.frame_s

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for documents."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> SimsRaster:
        raster = table["raster"]
        raster = Raster(tuple(raster["shape"]), raster["fov_um"], raster["dwell_ms"], tuple(raster["centre_um"]))
        channels = None if table["channels"] is None else tuple(table["channels"])
        return cls(**{**table, "raster": raster, "channels": channels})

    def check(self, scope: Scope) -> None:
        """ValueError when the raster leaves the scan field, the bias is off, or a value is outside a limit."""
        settings: Settings = scope.settings
        count(2, rows=self.raster.shape[0], columns=self.raster.shape[1])
        count(1, frames=self.frames)
        positive(current_pa=self.current_pa)
        check_within_field(self.raster, settings)
        if not self.bias_v >= settings.sector.min_bias_v:
            raise ValueError(
                f"bias_v: SIMS needs the stage bias on, at least {settings.sector.min_bias_v:g} V, "
                f"got {self.bias_v} V; use {settings.sector.bias_v:g} V"
            )
        check_values(self.optics(scope))
        if self.channels is not None:
            scope.sector.radii_for(self.channels, self.bias_v)

    def estimate(self, settings: Settings) -> Estimate:
        time_s = self.frames * self.raster.frame_s
        rows, columns = self.raster.shape
        return Estimate(
            time_s=time_s,
            dose_nc=self.current_pa * 1e-3 * time_s,
            dose_on="specimen",
            eroded_nm=self.frames * self.raster.erosion_nm(self.current_pa, settings.sputtering.rate_lco_um3_per_nc),
            disk_bytes=self.frames * len(settings.sector.channels) * rows * columns * COUNT_BYTES,
        )


def sims_request(
    settings: Settings,
    *,
    fov_um: float,
    shape: Sequence[int] = (512, 512),
    dwell_ms: float = 0.55,
    frames: int = 1,
    centre_um: Sequence[float] = (0.0, 0.0),
    current_pa: float | None = None,
    bias_v: float | None = None,
    voltage_kv: float | None = None,
    channels: Sequence[str | float] | None = None,
) -> SimsRaster:
    """Return the arguments of :func:`sims_raster` with defaults from the settings, unchecked."""
    return SimsRaster(
        Raster(pair("shape", shape), fov_um, dwell_ms, pair("centre_um", centre_um)),
        frames,
        settings.ion.current_pa if current_pa is None else current_pa,
        settings.sector.bias_v if bias_v is None else bias_v,
        settings.ion.voltage_kv if voltage_kv is None else voltage_kv,
        None if channels is None else tuple(channels),
    )


def sims_raster(
    scope: Scope,
    *,
    fov_um: float,
    shape: Sequence[int] = (512, 512),
    dwell_ms: float = 0.55,
    frames: int = 1,
    centre_um: Sequence[float] = (0.0, 0.0),
    current_pa: float | None = None,
    bias_v: float | None = None,
    voltage_kv: float | None = None,
    channels: Sequence[str | float] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Take SIMS maps: the gallium beam scans the field while the sector's four collectors count in parallel.

    The raster is hardware-timed: ``sector`` flies one frame at a time, each a checkpoint and a stream datum of
    ``sector_counts`` (channel, row, column). The stream ``dose`` holds dose and instrument time after each frame.
    The beam is on only during frames.

    Parameters
    ----------
    fov_um : width of the field; pixels are square.
    shape : (rows, columns).
    dwell_ms : per pixel.
    frames : number of rasters over the same field, one below the other.
    centre_um : (u, v) of the field in the scan frame.
    current_pa, bias_v, voltage_kv : probe current, stage bias, voltage of the column; default: those of the settings.
        Yields and erosion depend on the impact energy, which is voltage minus bias.
    channels : isotopes ("6Li") or masses in u, one for each collector; by default the collectors do not move.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError before anything moves.

    Example
    -------
    >>> RE(sims_raster(scope, fov_um=15.0, frames=3))
    """
    sims = sims_request(
        scope.settings,
        fov_um=fov_um,
        shape=shape,
        dwell_ms=dwell_ms,
        frames=frames,
        centre_um=centre_um,
        current_pa=current_pa,
        bias_v=bias_v,
        voltage_kv=voltage_kv,
        channels=channels,
    )
    return (yield from _rasters(scope, sims, range(sims.frames), "sims_raster", {}, md))


def resume_sims_raster(
    scope: Scope,
    start_doc: Mapping[str, Any],
    done_indices: Collection[int],
    lost_indices: Collection[int] = (),
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Take the missing frames of an interrupted raster, as a run of their own on the present surface.

    Parameters
    ----------
    start_doc : start document of any part.
    done_indices : frames on disk, of all parts together; frame i is the i-th from the original surface.
    lost_indices : frames that the beam has drawn, wholly or in part, and that are not on disk. Their material is gone:
        they are not taken again, and the start document lists them.

    Raises ValueError when the document belongs to no raster, NothingLeftError when nothing is left.
    """
    if start_doc.get("scan_type") != ScanType.SIMS_RASTER or "plan_args" not in start_doc:
        raise ValueError(f"start_doc: needs a sims_raster, got {start_doc.get('scan_type')!r}")
    sims = SimsRaster.from_dict(start_doc["plan_args"])
    gone = {int(index) for index in (*done_indices, *lost_indices)}
    frames = [index for index in range(sims.frames) if index not in gone]
    if not frames:
        lost = f", {len(lost_indices)} of them are lost" if lost_indices else ""
        raise NothingLeftError(f"resume: all {sims.frames} frames were drawn{lost}; nothing is left to resume")
    link = link_to(start_doc) | {"lost_indices": sorted(int(index) for index in lost_indices)}
    return (yield from _rasters(scope, sims, frames, "resume_sims_raster", link, md))


def _rasters(
    scope: Scope,
    sims: SimsRaster,
    frames: Sequence[int],
    plan_name: str,
    link: Mapping[str, Any],
    md: Mapping[str, Any] | None,
) -> Plan[str]:
    sims.check(scope)
    raster = sims.raster

    def take_frames() -> Plan[None]:
        for index in range(len(frames)):
            yield from _raster_frame(scope, index)

    def measure() -> Plan[None]:
        yield from bps.declare_stream(scope.sector, name="primary", collect=True)
        yield from _announce_file(scope)
        yield from bpp.finalize_wrapper(take_frames(), lambda: _collect_last_frame(scope))

    def describe() -> dict[str, Any]:
        return {
            "plan_name": plan_name,
            "plan_args": sims.as_dict(),
            "scan_type": ScanType.SIMS_RASTER.value,
            "detectors": ["sector"],
            "num_points": len(frames),
            "hints": {},
            "channels": scope.sector.channels(),
            "fov_um": raster.fov_um,
            "shape": list(raster.shape),
            "dwell_ms": raster.dwell_ms,
            "centre_um": list(raster.centre_um),
            "frames": sims.frames,
            "frame_indices": list(frames),
            "frame_dose_nc": sims.frame_dose_nc,
            "current_pa": sims.current_pa,
            "impact_energy_kev": sims.voltage_kv - 1e-3 * sims.bias_v,
            **link,
        }

    place = _place_collectors(scope, sims)
    return (yield from record(scope, "fib", sims.optics(scope), measure(), [scope.sector], describe, md, prepare=place))


def _place_collectors(scope: Scope, sims: SimsRaster) -> Plan[None]:
    """Move the collectors one by one, without any coming too close to its neighbour.

    First those that move outwards, from the outermost inwards, then those that move inwards, from the innermost on.
    """
    if sims.channels is None:
        return
    moves = list(zip(scope.sector.collectors, scope.sector.radii_for(sims.channels, sims.bias_v), strict=True))
    outwards = [(c, radius) for c, radius in moves if radius > c.radius_mm.get()]
    inwards = [(c, radius) for c, radius in moves if radius < c.radius_mm.get()]
    for collector, radius in [*reversed(outwards), *inwards]:
        yield from bps.mv(collector.radius_mm, radius)


def _announce_file(scope: Scope) -> Plan[None]:
    """Emit the document of the frame file before the beam draws, so that a frame is found even after a crash."""
    yield from bps.prepare(scope.sector, ("primary", 0), wait=True)
    yield from bps.collect(scope.sector, name="primary")
    yield from bps.checkpoint()


def _raster_frame(scope: Scope, index: int) -> Plan[None]:
    """Take one frame, up to a checkpoint. The index prevents a rewound plan from eroding the same frame twice.

    Collecting comes right before the checkpoint: ``sector`` refuses to rewind in between.
    """
    yield from bps.prepare(scope.sector, ("primary", index), wait=True)
    yield from bps.mv(scope.fib.blanked, False)
    yield from bps.kickoff(scope.sector, wait=True)
    yield from bps.complete(scope.sector, wait=True)
    yield from bps.mv(scope.fib.blanked, True)
    yield from bps.trigger_and_read([scope.fib.dose_nc, scope.fib.scan_dose_nc, scope.time_s], name="dose")
    yield from bps.collect(scope.sector, name="primary")
    yield from bps.checkpoint()


def _collect_last_frame(scope: Scope) -> Plan[None]:
    """Collect a frame that was taken before the plan was ended, because it cannot be taken again."""
    yield from bps.stop(scope.sector)
    yield from bps.complete(scope.sector, wait=True)
    yield from bps.collect(scope.sector, name="primary")
    yield from bps.prepare(scope.sector, None, wait=True)
