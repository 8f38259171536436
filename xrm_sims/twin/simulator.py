"""State, time and specimen of the simulated microscope, and the dose of its beams.

Only this module lets twin time pass. While it passes, every unblanked beam doses what it hits: gallium ions the
specimen, electrons the target or, without a target in their path, the specimen.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.geometry import apply_affine, rotation_z
from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings
from xrm_sims.twin.clock import Clock
from xrm_sims.twin.ions import Scan
from xrm_sims.twin.milling import dose_spot
from xrm_sims.twin.motion import RunOut, SourceDrift, settling
from xrm_sims.twin.pixel_detector import PixelDetector
from xrm_sims.twin.specimen_registry import make_specimen
from xrm_sims.twin.state_store import State, StateStore
from xrm_sims.twin.surface import Surface
from xrm_sims.twin.surface_change import UNCHANGED, SurfaceChange, find_surface_change
from xrm_sims.twin.xray import XrayModel

_FOREVER = threading.Event()
_MAX_CHANGES = 100  # number of changes of mode and target whose thermal drift is computed


@dataclass(frozen=True)
class Disturbance:
    """A reading has this value from ``start_s`` until ``stop_s`` of twin time."""

    reading: str
    value: float
    start_s: float
    stop_s: float


class Simulator:
    """One instrument with its specimen, shared by all drivers; large parts are computed at first use."""

    def __init__(self, store: StateStore, state: State, clock: Clock, settings: Settings, specimen: Any = None):
        self.store = store
        self.state = state
        self.clock = clock
        self.settings = settings
        self.source_drift = SourceDrift(settings.motion, state.seed)
        self.run_out = RunOut(settings.motion, state.seed)
        self.disturbances: list[Disturbance] = []
        self._given_specimen = specimen
        self._lock = threading.RLock()
        self._surface_unsaved = False
        self._surface_change: tuple[tuple[float, float], SurfaceChange] | None = None

    @cached_property
    def specimen(self) -> Any:
        if self._given_specimen is not None:
            return self._given_specimen
        return make_specimen(self.state.sample, self.state.seed, self.settings.specimen)

    @cached_property
    def surface(self) -> Surface:
        arrays = self.store.load_surface(self.state)
        return Surface.fresh(self.specimen, self.settings) if arrays is None else Surface.from_arrays(arrays)

    @cached_property
    def _fresh_surface(self) -> Surface:
        return Surface.fresh(self.specimen, self.settings)

    @property
    def surface_change(self) -> SurfaceChange:
        """Material that ions removed and deposited so far, as X-rays see it."""
        if self.state.surface is None and "surface" not in self.__dict__:
            return UNCHANGED
        volumes_um3 = float(self.surface.removed_um3.sum()), self.surface.deposited_um3
        if self._surface_change is None or self._surface_change[0] != volumes_um3:
            change = find_surface_change(self.surface, self._fresh_surface) if any(volumes_um3) else UNCHANGED
            self._surface_change = volumes_um3, change
        return self._surface_change[1]

    @cached_property
    def xray(self) -> XrayModel:
        return XrayModel(self.specimen, self.settings)

    @cached_property
    def detector(self) -> PixelDetector:
        return PixelDetector(self.settings, self.state.seed)

    @contextmanager
    def command(self) -> Iterator[None]:
        """Run a command while no other thread does; save the state at its end, also after an error."""
        with self._lock:
            self._advance(self.clock.elapsed_s(self.state.wall_s), fib_parked=True)
            self.state.wall_s = self.clock.wall()
            try:
                yield
            finally:
                self._save()

    @contextmanager
    def scanning(self, device: str, command: str, *arguments: Any) -> Iterator[None]:
        """Save the scan command before the beam draws, so that the next process finishes it if this one dies."""
        self.state.scanning = [device, command, *arguments]
        self._save()
        try:
            yield
        finally:
            self.state.scanning = None

    def let_pass(self, seconds: float, halt: threading.Event = _FOREVER, *, fib_parked: bool = True) -> float:
        """Let twin time pass; return how many seconds passed. ``fib_parked=False``: a scan accounts for the ions."""
        passed = self.clock.let_pass(seconds, halt)
        self._advance(passed, fib_parked=fib_parked)
        wall_s = self.clock.wall()
        if self.clock.rate is not None:
            wall_s = min(wall_s, self.state.wall_s + passed / self.clock.rate)
        self.state.wall_s = wall_s
        return passed

    def catch_up(self, seconds: float) -> None:
        """Account for the time in which no process held the instrument."""
        with self._lock:
            self._advance(seconds, fib_parked=True)
            self.state.wall_s = self.clock.wall()
            self._save()

    @property
    def time_s(self) -> float:
        """Present twin time."""
        return self.state.time_s + self.clock.elapsed_s(self.state.wall_s)

    def rng(self, purpose: str) -> np.random.Generator:
        """Return the next stream of random numbers for a purpose; the state keeps only the number of streams used."""
        number = self.state.counters.get(purpose, 0)
        self.state.counters[purpose] = number + 1
        return np.random.default_rng([self.state.seed, zlib.crc32(purpose.encode()), number])

    def add(self, total: str, amount: float) -> None:
        """Add a dose or a charge to its total."""
        self.state.totals[total] = self.state.totals.get(total, 0.0) + amount

    def add_scan_dose(self, dose_nc: float) -> None:
        """Add the gallium dose of a scan to the totals."""
        if dose_nc > 0:
            self.add("fib_dose_nc", dose_nc)
            self.add("fib_scan_dose_nc", dose_nc)
            self.mark_surface_unsaved()

    def mark_surface_unsaved(self) -> None:
        """Have the surface saved with the present command."""
        self._surface_unsaved = True

    @property
    def beams_on(self) -> bool:
        values = self.state.values
        return not (values["beam"]["blanked"] and values["fib"]["blanked"])

    def current_na(self, time_s: float) -> float:
        """Return the electron current, which decays exponentially after it was set."""
        hours = (time_s - self.state.since_s.get("current_na", 0.0)) / 3600.0
        kept = float(np.exp(-self.settings.electron.current_decay_per_h * hours))
        return self.disturbed("measured_current_na", self.state.values["beam"]["current_na"] * kept, time_s)

    def disturbed(self, reading: str, value: float, time_s: float) -> float:
        """Return the value of a reading: that of a disturbance at this time, else ``value``."""
        for d in self.disturbances:
            if d.reading == reading and d.start_s <= time_s < d.stop_s:
                return d.value
        return value

    @property
    def target_flux(self) -> float:
        """X-ray flux relative to a fresh spot of the target, which wears under electrons."""
        charge_c = self.state.totals.get("target_spot_charge_c", 0.0)
        return float(np.exp(-self.settings.source.wear_per_c * charge_c))

    @property
    def target_in_place(self) -> bool:
        """Whether the electron beam hits the target's face at the working position."""
        target, beam, limits = self.state.values["target"], self.state.values["beam"], self.settings.target
        off_um = np.array([target["x_um"] + 1e3 * self.settings.xray.source_object_mm, target["y_um"], target["z_um"]])
        on_face = max(abs(beam["position_y_um"]), abs(beam["position_z_um"])) <= 0.5 * limits.tip_um
        return bool(np.abs(off_um).max() <= limits.working_tolerance_um and on_face)

    def source_um(self, time_s: float) -> NDArray[np.float64]:
        """Return the focal spot (3,) in the laboratory frame: the beam's position on the target, and drift."""
        target, beam = self.state.values["target"], self.state.values["beam"]
        y_um, z_um = target["y_um"] + beam["position_y_um"], target["z_um"] + beam["position_z_um"]
        return np.array([target["x_um"], y_um, z_um]) + self.source_drift_um(time_s)

    def source_drift_um(self, time_s: float) -> NDArray[np.float64]:
        """Return the displacement (3,) of the focal spot by drift and by the heat of changes of mode and target."""
        moves_s = self.state.moves_s
        first = self.state.counters.get("moves", 0) - len(moves_s)
        return self.source_drift.at(time_s) + settling(self.settings.motion, self.state.seed, moves_s, first, time_s)

    def note_change(self) -> None:
        """Record a change of mode, target or specimen, which makes the focal spot drift."""
        self.state.counters["moves"] = self.state.counters.get("moves", 0) + 1
        self.state.moves_s = [*self.state.moves_s, self.state.time_s][-_MAX_CHANGES:]

    def exchange_specimen(self, sample: str) -> None:
        """Mount another, unmilled specimen."""
        self.state.sample, self.state.surface, self._given_specimen = sample, None, None
        self._surface_unsaved = False
        self._surface_change = None
        for cached in ("specimen", "surface", "_fresh_surface", "xray"):
            self.__dict__.pop(cached, None)
        for total in ("fib_dose_nc", "specimen_electron_charge_c"):
            self.state.totals.pop(total, None)
        self.note_change()

    @property
    def specimen_um(self) -> NDArray[np.float64]:
        """Origin of the specimen (3,) in the laboratory frame: stage and run-out."""
        stage = self.state.values["stage"]
        return np.array([stage["x_um"], stage["y_um"], stage["z_um"]]) + self.run_out.at(self.angle_deg)

    @property
    def angle_deg(self) -> float:
        return self.state.values["rotation"]["angle_deg"]

    def scan_to_specimen(self, time_s: float) -> NDArray[np.float64]:
        """Return the 2 x 3 affine (um) from the present scan frame to the specimen: frame error, drift, stage."""
        frame = np.array(self.state.scan_frame)
        drift = np.array(self.state.frame_drift_um_per_s) * (time_s - self.state.since_s.get("mode", 0.0))
        frame[:, 2] += drift - self.specimen_um[:2]
        return rotation_z(-self.angle_deg)[:2, :2] @ frame

    @property
    def scan_drift_um_per_s(self) -> tuple[float, float]:
        """Drift of a scan over the specimen (x, y)."""
        x, y = rotation_z(-self.angle_deg)[:2, :2] @ self.state.frame_drift_um_per_s
        return float(x), float(y)

    @property
    def electron_current_na(self) -> float:
        """Present electron current; 0 while the beam is blanked."""
        return 0.0 if self.state.values["beam"]["blanked"] else self.current_na(self.state.time_s)

    def electron_scan(self, raster: Raster, current_pa: float) -> Scan:
        """Return a raster of the electron beam that starts now."""
        return Scan(raster, self.scan_to_specimen(self.state.time_s), current_pa, self.scan_drift_um_per_s)

    @property
    def impact_energy_kev(self) -> float:
        """Energy of the gallium ions at the specimen: the column's voltage less the stage's bias."""
        return float(self.state.values["fib"]["voltage_kv"] - 1e-3 * self.state.values["stage"]["bias_v"])

    def ions_to_specimen(self, time_s: float, current_pa: float) -> NDArray[np.float64]:
        """Return :meth:`scan_to_specimen` for ions, whose charge shifts the scan in proportion to their current."""
        affine = self.scan_to_specimen(time_s)
        affine[:, 2] += affine[:, :2] @ np.array(self.settings.ion.charging_nm_per_na) * 1e-6 * current_pa
        return affine

    def ion_scan(self, raster: Raster) -> Scan:
        """Return a raster of the ion beam that starts now; without current while the beam is blanked."""
        fib = self.state.values["fib"]
        current_pa = 0.0 if fib["blanked"] else float(fib["current_pa"])
        affine = self.ions_to_specimen(self.state.time_s, current_pa)
        return Scan(raster, affine, current_pa, self.scan_drift_um_per_s, self.impact_energy_kev)

    def _advance(self, seconds: float, *, fib_parked: bool) -> None:
        """Let twin time pass with the beams in their present state."""
        if seconds <= 0:
            return
        middle_s = self.state.time_s + 0.5 * seconds
        if not self.state.values["beam"]["blanked"]:
            charge_c = self.current_na(middle_s) * 1e-9 * seconds
            if self.target_in_place:
                self.add("target_charge_c", charge_c)
                self.add("target_spot_charge_c", charge_c)
            else:
                self.add("specimen_electron_charge_c", charge_c)
        fib = self.state.values["fib"]
        if fib_parked and not fib["blanked"]:
            affine = self.ions_to_specimen(middle_s, fib["current_pa"])
            where = apply_affine(affine, [[fib["centre_u_um"], fib["centre_v_um"]]])[0]
            dose_nc = dose_spot(
                self.specimen,
                self.surface,
                xy_um=(float(where[0]), float(where[1])),
                current_pa=fib["current_pa"],
                seconds=seconds,
                settings=self.settings,
                impact_energy_kev=self.impact_energy_kev,
            )
            self.add("fib_dose_nc", dose_nc)
            self.mark_surface_unsaved()
        self.state.time_s += seconds

    def _save(self) -> None:
        try:
            if not self._surface_unsaved:
                self.store.save(self.state)
                return
            try:
                self.store.save_surface(self.state, self.surface.arrays())
            except OSError:
                self.store.save(self.state)  # needs no disk space: a beam that was blanked stays blanked
                raise
            self._surface_unsaved = False
        except OSError as error:
            raise RuntimeError(f"instrument {self.store.root}: state cannot be written ({error.strerror})") from error
