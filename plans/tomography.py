"""X-ray nanoCT: dark and flat images, and one projection per angle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import Msg

from plans.instrument import Scope, Values
from plans.metadata import link_to
from plans.preflight import Estimate
from plans.stubs import NothingLeftError, Plan, bring_target_in, check_values, record
from plans.validation import choice, count, finite, positive
from xrm_sims.feasibility import check_photons, check_target_power
from xrm_sims.geometry import ConeGeometry, scan_angles
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings

ORDERS = ("sequential", "interleaved")
COUNT_BYTES = 4


@dataclass(frozen=True)
class TomographyScan:
    """The arguments of :func:`tomography`."""

    num: int = 1200
    step_deg: float = 0.3
    start_deg: float = 0.0
    exposure_s: float = 90.0
    num_dark: int = 5
    num_flat: int = 10
    flat_every: int = 400
    reference_every: int = 100
    order: str = "sequential"
    target: str = "W"
    binning: int = 1

    def __post_init__(self) -> None:
        positive(exposure_s=self.exposure_s)
        finite(start_deg=self.start_deg)
        count(1, num=self.num, num_flat=self.num_flat, binning=self.binning)
        count(0, num_dark=self.num_dark, flat_every=self.flat_every, reference_every=self.reference_every)
        choice("order", self.order, ORDERS)
        scan_angles(self.num, self.step_deg, self.start_deg)

    def optics(self, scope: Scope) -> Values:
        electron = scope.settings.electron
        return {
            scope.beam.voltage_kv: electron.voltage_kv,
            scope.beam.current_na: electron.current_na,
            scope.widepix.exposure_s: self.exposure_s,
            scope.widepix.binning: self.binning,
            scope.stage.bias_v: 0.0,
        }

    def check(self, scope: Scope) -> None:
        """ValueError when a value is outside a limit of the instrument or the stage cannot be lowered for flats."""
        choice("target", self.target, scope.settings.target.materials)
        check_values(self.optics(scope))
        self._check_physics(scope)
        lowering_um = scope.settings.stage.flat_lowering_um
        room_um = scope.stage.z_um.get() - scope.stage.z_um.limits[0]
        if room_um < lowering_um:
            raise ValueError(
                f"stage_z_um: flats lower the specimen by {lowering_um:g} um, {room_um:g} um are left; raise the stage"
            )
        for view in (0, self.num - 1):
            scope.rotation.angle_deg.check_value(self.start_deg + view * self.step_deg)

    def _check_physics(self, scope: Scope) -> None:
        """ValueError when the beam would melt the target, or when no photon is above the detector's threshold."""
        settings, electron = scope.settings, scope.settings.electron
        check_photons(settings, electron.voltage_kv, float(scope.widepix.threshold_kev.get()))
        probe_nm = float(scope.beam.probe_nm.get())
        check_target_power(settings, self.target, electron.voltage_kv, electron.current_na, probe_nm)

    def view_order(self) -> list[int]:
        """Return the view numbers in the order of the scan: 0 ... num - 1, or bit-reversed to spread early views."""
        if self.order == "sequential":
            return list(range(self.num))
        bits = max(1, (self.num - 1).bit_length())
        reversed_numbers = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
        return [number for number in reversed_numbers if number < self.num]

    def angles_deg(self, views: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return scan_angles(self.num, self.step_deg, self.start_deg)[list(views)]

    def geometry(self, settings: Settings, views: Sequence[int]) -> ConeGeometry:
        """Return the nominal geometry of the scan, with the volume that the whole detector sees."""
        rows, columns = settings.detector.rows // self.binning, settings.detector.columns // self.binning
        return ConeGeometry(
            source_object_mm=settings.xray.source_object_mm,
            source_detector_mm=settings.xray.source_detector_mm,
            pixel_mm=settings.detector.pixel_mm * self.binning,
            detector_shape=(rows, columns),
            angles_deg=self.angles_deg(views),
            volume_shape=(rows, columns, columns),
            voxel_um=settings.voxel_um * self.binning,
        )

    def flats_before(self, position: int) -> bool:
        return position == 0 or (self.flat_every > 0 and position % self.flat_every == 0)

    def reference_before(self, position: int) -> bool:
        return self.reference_every > 0 and position % self.reference_every == 0

    def estimate(self, settings: Settings) -> Estimate:
        rounds_of_flats = 2 + ((self.num - 1) // self.flat_every if self.flat_every else 0)
        references = 2 + (self.num - 1) // self.reference_every if self.reference_every else 0
        frames = self.num + self.num_dark + self.num_flat * rounds_of_flats + references
        moves_s = (
            2 * rounds_of_flats * settings.stage.flat_lowering_um / settings.stage.speed_um_per_s
            + abs(self.num * self.step_deg) / settings.stage.rotation_deg_per_s
        )
        pixels = settings.detector.rows * settings.detector.columns // self.binning**2
        lit_s = (frames - self.num_dark) * self.exposure_s
        return Estimate(
            time_s=frames * self.exposure_s + moves_s,
            dose_nc=lit_s * settings.electron.current_na,
            dose_on="target",
            disk_bytes=frames * pixels * COUNT_BYTES,
        )


def tomography(
    scope: Scope,
    *,
    num: int = 1200,
    step_deg: float = 0.3,
    start_deg: float = 0.0,
    exposure_s: float = 90.0,
    num_dark: int = 5,
    num_flat: int = 10,
    flat_every: int = 400,
    reference_every: int = 100,
    order: str = "sequential",
    target: str = "W",
    binning: int = 1,
    enough: Callable[[], bool] | None = None,
    md: Mapping[str, Any] | None = None,
) -> Plan[str]:
    """Cone-beam tomography with the electron beam on an X-ray target.

    Dark images are taken with the beam blanked. Flat images are taken with the specimen lowered out of the beam: at the
    start, every ``flat_every`` views and at the end. Images at ``start_deg`` every ``reference_every`` views and at the
    end measure the drift (stream ``reference``). Projections are in ``primary``; each is a checkpoint.

    Parameters
    ----------
    num, step_deg, start_deg : angles are ``start_deg + arange(num) * step_deg``.
    exposure_s : of every frame.
    num_dark, num_flat : frames per round.
    flat_every, reference_every : views between rounds; 0 for no flats in between, or no reference images at all.
    order : "sequential", or "interleaved" to make a live reconstruction useful early.
    target : material of the X-ray target.
    binning : number of detector pixels per side that are summed.
    enough : called after each projection, for example ``live.enough``. When it returns True the scan ends early, with
        its last flats, and the stop document gives the reason. It needs the order "interleaved", because sequential
        views would leave a missing wedge. ``resume`` takes the other views later.
    md : goes into the start document.

    Returns the run's uid. Raises ValueError before anything moves.

    Example
    -------
    >>> RE(tomography(scope, num=600, step_deg=0.6, exposure_s=45.0, binning=4))
    """
    scan = TomographyScan(
        num, step_deg, start_deg, exposure_s, num_dark, num_flat, flat_every, reference_every, order, target, binning
    )
    if enough is not None and order != "interleaved":
        raise ValueError(
            f'enough: needs order="interleaved", because sequential views end half-way round; got {order!r}'
        )
    return (yield from _scan(scope, scan, scan.view_order(), "tomography", {}, md, enough))


def resume_tomography(
    scope: Scope, start_doc: Mapping[str, Any], done_indices: Collection[int], md: Mapping[str, Any] | None = None
) -> Plan[str]:
    """Take the missing views of an interrupted scan, as a run of their own with its own darks and flats.

    Parameters
    ----------
    start_doc : start document of any part.
    done_indices : numbers of the views on disk, of all parts together; view i is at start_deg + i * step_deg.

    Raises ValueError when the document belongs to no tomography, NothingLeftError when nothing is missing.
    """
    if start_doc.get("scan_type") != ScanType.TOMOGRAPHY or "plan_args" not in start_doc:
        raise ValueError(f"start_doc: needs a tomography, got {start_doc.get('scan_type')!r}")
    known = {entry.name for entry in fields(TomographyScan)}
    scan = TomographyScan(**{name: value for name, value in start_doc["plan_args"].items() if name in known})
    taken = {int(index) for index in done_indices}
    views = [view for view in scan.view_order() if view not in taken]
    if not views:
        raise NothingLeftError(f"resume: all {scan.num} views are on disk, nothing is left to resume")
    return (yield from _scan(scope, scan, views, "resume_tomography", link_to(start_doc), md))


def _scan(
    scope: Scope,
    scan: TomographyScan,
    views: list[int],
    plan_name: str,
    link: Mapping[str, Any],
    md: Mapping[str, Any] | None,
    enough: Callable[[], bool] | None = None,
) -> Plan[str]:
    settings = scope.settings
    scan.check(scope)
    beam = {
        "energy_kev": settings.electron.voltage_kv,
        "current_na": settings.electron.current_na,
        "target": scan.target,
        "focal_spot": settings.source.focal_spot_of(float(scope.beam.probe_nm.get())),
    }

    def describe() -> dict[str, Any]:
        return {
            "plan_name": plan_name,
            "plan_args": asdict(scan),
            "scan_type": ScanType.TOMOGRAPHY.value,
            "detectors": ["widepix"],
            "motors": ["rotation_angle_deg"],
            "num_points": len(views),
            "num_intervals": len(views) - 1,
            "hints": {"dimensions": [(["rotation_angle_deg"], "primary")]},
            "geometry": scan.geometry(settings, views).as_dict(),
            "beam": beam,
            "num_projections": scan.num,
            "view_indices": views,
            "step_deg": scan.step_deg,
            "exposure_s": scan.exposure_s,
            **link,
        }

    target_in, measure = bring_target_in(scope, scan.target), _views(scope, scan, views, enough)
    optics = scan.optics(scope)
    return (yield from record(scope, "xray", optics, measure, [scope.widepix], describe, md, prepare=target_in))


def _views(
    scope: Scope, scan: TomographyScan, views: Sequence[int], enough: Callable[[], bool] | None
) -> Plan[str | None]:
    """Take all frames of a run. Returns the reason when some views were left out."""
    taken: Counter[str] = Counter()
    stage_z_um = yield from bps.rd(scope.stage.z_um)
    lowered_um = stage_z_um - scope.settings.stage.flat_lowering_um

    def frame(stream: str, angle_deg: float | None = None) -> Plan[None]:
        yield from _frame(scope, stream, taken[stream], angle_deg)
        taken[stream] += 1

    def flats() -> Plan[None]:
        yield from bps.mv(scope.stage.z_um, lowered_um)
        for _ in range(scan.num_flat):
            yield from frame("flat")
        yield from bps.mv(scope.stage.z_um, stage_z_um)

    def reference() -> Plan[None]:
        yield from bps.mv(scope.rotation.angle_deg, scan.start_deg)
        yield from frame("reference")

    for _ in range(scan.num_dark):
        yield from frame("dark")
    yield from bps.mv(scope.beam.blanked, False)
    for position, angle_deg in enumerate(scan.angles_deg(views).tolist()):
        if scan.flats_before(position):
            yield from flats()
        if scan.reference_before(position):
            yield from reference()
        yield from frame("primary", angle_deg)
        if enough is not None and enough():
            break
    if scan.reference_every:
        yield from reference()
    yield from flats()
    left_out = len(views) - taken["primary"]
    return f"enough: {left_out} of {len(views)} views were left out, as agreed before" if left_out else None


def _frame(scope: Scope, stream: str, index: int, angle_deg: float | None = None) -> Plan[None]:
    """Take one frame, up to a checkpoint. The index prevents a rewound plan from taking the same frame twice.

    These are bare messages because each of bluesky's stubs records the call stack, which would take most of the time.
    """
    yield Msg("prepare", scope.widepix, (stream, index), group="ready")
    if angle_deg is not None:
        yield Msg("set", scope.rotation.angle_deg, angle_deg, group="ready")
    yield Msg("wait", None, group="ready")
    yield Msg("trigger", scope.widepix, group="frame")
    yield Msg("wait", None, group="frame")
    yield Msg("create", name=stream)
    yield Msg("read", scope.widepix)
    yield Msg("read", scope.rotation)
    yield Msg("save")
    yield Msg("checkpoint")
