"""The simulated microscope: all drivers, over one simulator whose state outlives the process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Settings
from xrm_sims.twin.beams import ElectronBeam, GalliumFIB
from xrm_sims.twin.clock import Clock
from xrm_sims.twin.detectors import MagneticSector, WidePix
from xrm_sims.twin.imaging import EDS, SecondaryElectrons
from xrm_sims.twin.simulator import Disturbance, Simulator
from xrm_sims.twin.specimen_registry import check_sample
from xrm_sims.twin.stages import Instrument, Rotation, Stage, Target
from xrm_sims.twin.state_store import State, StateStore
from xrm_sims.twin.surface import Surface


@dataclass(frozen=True)
class Truth:
    """True values that no instrument can measure; only for tests and validation.

    scan_to_specimen : 2 x 3 affine (um) of the present mode, now.
    source_drift_um : twin time in s -> (3,) displacement of the focal spot.
    run_out_um : angle in deg -> (3,) displacement of the rotation stage.
    totals : ``fib_dose_nc``, ``fib_scan_dose_nc``, ``target_charge_c``, ``specimen_electron_charge_c`` and the like.
    """

    specimen: Any
    surface: Surface
    scan_to_specimen: NDArray[np.float64]
    source_drift_um: Callable[[float], NDArray[np.float64]]
    run_out_um: Callable[[float], NDArray[np.float64]]
    totals: dict[str, float]


class Microscope:
    """One instrument with one specimen.

    Parameters
    ----------
    root : folder of its state; created when it does not exist.
    settings : fixed properties of the instrument.
    seed : of the specimen and of all random numbers; None: that of the mounted specimen, 1 when none is.
    clock : "fast", "real", a factor of acceleration, or a :class:`Clock`.
    sample : name of the specimen; None: the mounted one, the cathode pillar when none is.
    specimen : an object to mount instead of the one that ``sample`` and ``seed`` describe.
    reset : erase the stored state and mount a fresh specimen.

    Raises
    ------
    InstrumentInUse when another process holds ``root``; ValueError for an unknown sample, or when ``sample`` or
    ``seed`` differ from the mounted specimen.

    Notes
    -----
    Every command is on disk before it returns, so a killed process leaves the state after its last command. The next
    process that opens ``root`` accounts for the time between: it finishes an unfinished scan (the frame is lost, the
    dose is not), and unblanked beams have dosed their target all the time. With a fast clock this time equals
    wall-clock time, or 0 when all beams are blanked.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        settings: Settings | None = None,
        seed: int | None = None,
        clock: str | float | Clock = "fast",
        sample: str | None = None,
        specimen: Any = None,
        reset: bool = False,
    ):
        if sample is not None:
            check_sample(sample)
        if seed is not None and seed < 0:
            raise ValueError(f"seed: needs a whole number from 0 on, got {seed}")
        pace = clock if isinstance(clock, Clock) else Clock(clock)
        self._store = StateStore(root)
        try:
            state = self._mounted(seed, sample, pace, reset)
            self._simulator = Simulator(self._store, state, pace, settings or Settings(), specimen)
            self._connect()
            self._resume()
        except BaseException:
            self._store.close()
            raise

    def _mounted(self, seed: int | None, sample: str | None, clock: Clock, reset: bool) -> State:
        if reset:
            self._store.clear()
        state = self._store.load()
        if state is None:
            self._store.remove_stale_surfaces(None)
            return State(1 if seed is None else seed, sample or "cathode_pillar", clock.wall())
        self._store.remove_stale_surfaces(state)
        if (sample not in (None, state.sample)) or (seed not in (None, state.seed)):
            raise ValueError(
                f"specimen: {state.sample} of seed {state.seed} is mounted in {self._store.root}, not "
                f"{sample or state.sample} of seed {state.seed if seed is None else seed}; "
                "leave out seed and sample to go on with that one, mount a fresh one, or take another data root"
            )
        return state

    def _connect(self) -> None:
        simulator = self._simulator
        self.instrument = Instrument(simulator)
        self.beam = ElectronBeam(simulator)
        self.target = Target(simulator)
        self.stage = Stage(simulator)
        self.rotation = Rotation(simulator)
        self.widepix = WidePix(simulator)
        self.fib = GalliumFIB(simulator)
        self.sector = MagneticSector(simulator, self.fib)
        self.se = SecondaryElectrons(simulator)
        self.eds = EDS(simulator)

    def _resume(self) -> None:
        """Account for the time since the last command: finish an unfinished scan, and dose under unblanked beams."""
        simulator = self._simulator
        state, clock = simulator.state, simulator.clock
        away_s, left_s = clock.away_s(state.wall_s), state.time_s
        if state.scanning is not None:
            device, command, *arguments = state.scanning
            simulator.clock = Clock("fast", wall=clock.wall)
            with suppress(ValueError):  # other settings may not allow it any more
                getattr(getattr(self, device), command)(*arguments)
            state.scanning = None
            simulator.clock = clock
        beams_or_clock_on = simulator.beams_on or clock.rate is not None
        simulator.catch_up(away_s - (state.time_s - left_s) if beams_or_clock_on else 0.0)

    def truth(self) -> Truth:
        """Return true values that no instrument can measure; the surface is the live object, not a copy."""
        simulator = self._simulator
        return Truth(
            specimen=simulator.specimen,
            surface=simulator.surface,
            scan_to_specimen=simulator.scan_to_specimen(simulator.time_s),
            source_drift_um=simulator.source_drift_um,
            run_out_um=simulator.run_out.at,
            totals=dict(simulator.state.totals),
        )

    def disturb(self, reading: str, value: float, *, start_s: float, stop_s: float) -> None:
        """Simulate a failure: a reading has this value between two twin times, until this process ends.

        Readings are ``chamber_pressure_pa``, ``measured_current_na`` (with counts and dose) and ``temperature_c``.
        """
        self._simulator.disturbances.append(Disturbance(reading, value, start_s, stop_s))

    def close(self) -> None:
        """Release the instrument; beams and stages stay as they are."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
