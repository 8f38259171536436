"""The simulated microscope: drivers over one simulator whose state outlives every process that opens it."""

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
    """What no instrument tells: for tests and validation only.

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
    """One instrument with one specimen in it.

    Parameters
    ----------
    root : folder of its state; it is made when it is not there.
    settings : the instrument's fixed facts.
    seed : of the specimen and of everything random; None takes what is mounted, 1 where nothing is.
    clock : "fast", "real", a factor of acceleration, or a :class:`Clock`.
    sample : name of the specimen; None takes what is mounted, the cathode pillar where nothing is.
    specimen : an object to mount in place of the one that ``sample`` and ``seed`` describe.
    reset : forget the stored state and mount a fresh specimen.

    Raises
    ------
    InstrumentInUse when another process holds ``root``; ValueError for an unknown sample, or when another specimen is
    mounted than the one asked for.

    Notes
    -----
    Every command is on disk before it returns, so a killed process leaves the instrument as it stood. What goes on
    without a process is made up for by the next one that opens ``root``: a scan that was being drawn is finished (its
    frame is lost, its dose is not), and unblanked beams have dosed what they stand on for as long as nobody was there.
    With a fast clock a second away counts as a second; with all beams blanked it then does not count at all.
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
        """Make up for the time since the last acknowledged command."""
        simulator = self._simulator
        state, clock = simulator.state, simulator.clock
        away_s, left_s = clock.away_s(state.wall_s), state.time_s
        if state.scanning is not None:
            device, command, *arguments = state.scanning
            simulator.clock = Clock("fast", wall=clock.wall)
            with suppress(ValueError):  # other settings than those it began under may refuse it
                getattr(getattr(self, device), command)(*arguments)
            state.scanning = None
            simulator.clock = clock
        if simulator.beams_on or clock.rate is not None:
            simulator.catch_up(away_s - (state.time_s - left_s))
        else:
            simulator.catch_up(0.0)

    def truth(self) -> Truth:
        """What no instrument tells; the surface is the live one, not a copy."""
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
        """Script a failure, until this process lets go: ``chamber_pressure_pa``, ``measured_current_na`` (the beam
        itself, counts and dose included) or ``temperature_c`` has a value from one twin time to another."""
        self._simulator.disturbances.append(Disturbance(reading, value, start_s, stop_s))

    def close(self) -> None:
        """Let go of the instrument and leave it as it stands; its beams stay as they are."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
