"""A session: the data root, the instrument, a RunEngine and the catalogue, connected in one place."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import bluesky.preprocessors as bpp
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted, TransitionError

from devices import Instrument
from devices.drivers import Drivers
from xrm_sims.app.common.progress import RunProgress
from xrm_sims.app.common.signals import Interrupted, pausing_at_once
from xrm_sims.app.session import recovery
from xrm_sims.app.session.hardware import CheckSpecimen, open_hardware, session_settings
from xrm_sims.app.session.metadata import KeptMetadata
from xrm_sims.app.session.suspender import ConditionSuspender
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import Recorder
from xrm_sims.settings import Settings

if TYPE_CHECKING:
    from xrm_sims.correlate.settings import AnalysisSettings  # only commands that compute need it and its libraries

T = TypeVar("T")
_VERSIONS = ("bluesky", "ophyd", "tiled", "databroker", "event-model", "numpy", "numba", "xrm-sims")


class Session:
    """One operator at one instrument: ``RE``, ``scope``, ``recorder``, and the catalogue as ``catalog`` and ``db``.

    Use it as a context manager. On exit it waits until the catalogue is complete, and closes the instrument.
    """

    def __init__(
        self,
        data: Path,
        drivers: Drivers,
        settings: Settings,
        *,
        operator: str = "",
        check_specimen: CheckSpecimen = lambda name: None,
        analysis: AnalysisSettings | None = None,
    ) -> None:
        self.data = data
        self.check_specimen = check_specimen
        self.settings = settings
        self._analysis = analysis
        self.drivers = drivers
        self.scope = Instrument(drivers, settings, Layout(data).frames)
        self.RE = RunEngine(KeptMetadata(data / "run_engine.json"))  # type: ignore[arg-type] # a mutable mapping is enough
        self.RE.md.update(run_metadata(operator))
        self.recorder = Recorder(data)
        self.RE.subscribe(self.recorder)
        self.RE.subscribe(RunProgress())
        self.RE.preprocessors.append(self._apply_run_metadata)
        self.suspender = ConditionSuspender(self.scope)
        self.RE.install_suspender(self.suspender)
        self._closed = False

    @property
    def analysis(self) -> AnalysisSettings:
        """Settings of the analysis: those that the session was given, else those of the data root."""
        if self._analysis is None:
            from xrm_sims.correlate.settings import load_analysis_settings

            self._analysis = load_analysis_settings(self.data)
        return self._analysis

    @property
    def catalog(self) -> Any:
        """Return the Tiled client of all runs."""
        from xrm_sims.data import open_catalog

        return open_catalog(self.data)

    @property
    def db(self) -> Any:
        """Return databroker's Broker of the same runs. It has its own client because both views keep state."""
        from xrm_sims.data import open_catalog

        return open_catalog(self.data).v1

    def run(self, plan: Generator[Any, Any, T], *callbacks: Callable[..., Any]) -> T:
        """Run a plan to its end and return its value; ``callbacks`` receive its documents.

        One Ctrl-C (or SIGTERM, SIGHUP) stops the plan at once, makes the instrument safe and raises
        :class:`Interrupted`.
        """
        subscriptions = [self.RE.subscribe(callback) for callback in callbacks]
        returned: list[T] = []

        def with_value() -> Generator[Any, Any, None]:
            returned.append((yield from plan))

        try:
            with pausing_at_once(self.RE):
                try:
                    self.RE(with_value())
                except RunEngineInterrupted:
                    raise Interrupted(self._abort("stopped by the user")) from None
        finally:
            for subscription in subscriptions:
                self.RE.unsubscribe(subscription)
            self.recorder.flush()
        return returned[0]

    def _apply_run_metadata(self, plan: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """Replace a plan's default ``sample_name`` and ``operator`` by those in ``RE.md``."""

        def replace_defaults(msg: Msg) -> Msg:
            if msg.command != "open_run":
                return msg
            defaults = {"sample_name": self.scope.specimen.get(), "operator": getpass.getuser()}
            chosen = {
                key: self.RE.md[key]
                for key, default in defaults.items()
                if key in self.RE.md and msg.kwargs.get(key) in (None, default)
            }
            return msg._replace(kwargs=msg.kwargs | chosen)

        return bpp.msg_mutator(plan, replace_defaults)  # type: ignore[no-any-return]

    def abort_all(self, reason: str = "emergency stop") -> list[str]:
        """Stop everything at once, from any thread; return a line for each thing done.

        Moves stop, both beams are blanked, the target is parked and the running plan is aborted. The hardware is
        stopped before and after the abort, because the plan may still act in between.
        """
        done = self.scope.emergency_stop()
        if not self.RE.state.is_idle:
            with suppress(TransitionError):  # the plan has just ended
                self.RE.abort(reason)
                done.append("plan: aborted")
            done += self.scope.emergency_stop()
        return done

    def recover(self) -> list[str]:
        """Make the instrument safe and complete the catalogue from the journal; return a line for each thing done."""
        return recovery.recover(self.scope, self.recorder, self.run)

    def close(self) -> None:
        """Wait for the catalogue and close the instrument; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self.RE.state == "paused":
            self._abort("the session was closed")
        self.RE.remove_suspender(self.suspender)
        self.recorder.close()
        self.scope.close()
        self.drivers.close()

    def _abort(self, reason: str) -> str:
        """Abort a paused plan and return a message for the user."""
        uids = self.RE.abort(reason) if self.RE.state == "paused" else ()
        kept = f" in run {uids[-1]}" if uids else ""
        return f"stopped: beams blanked, target parked, what was acquired is kept{kept}"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_session(
    data: Path | str | None = None,
    *,
    seed: int | None = None,
    sample: str | None = None,
    clock: str | float = "fast",
    operator: str = "",
    fresh: bool = False,
    settings: Settings | None = None,
    analysis: AnalysisSettings | None = None,
    recover: bool = True,
    hardware: str | None = None,
) -> Session:
    """Open a session on the digital twin of a data root, or on other hardware.

    Parameters
    ----------
    seed, sample : specimen to mount when none is mounted yet; None takes the mounted one.
    clock : time of the twin: "fast", "real" or a factor.
    fresh : mount a new specimen and delete the old one.
    settings, analysis : default: ``settings.toml`` in the data root, else the built-in values.
    recover : after a crash (a beam left on, runs that never ended), recover and print a line on stderr.
    hardware : "twin", or "epics:PREFIX" for an instrument that ``xrm-sims ioc`` serves; None: the environment
        variable XRM_SIMS_HARDWARE, else the twin.

    Raises ValueError for an unknown sample or for another specimen than the mounted one, and RuntimeError when another
    process uses the instrument (it is named) or when no server has the prefix.
    """
    root = Layout.of(data).root
    settings = settings or session_settings(root)
    drivers, check_specimen = open_hardware(
        root, settings, hardware, seed=seed, sample=sample, clock=clock, fresh=fresh
    )
    try:
        session = Session(root, drivers, settings, operator=operator, check_specimen=check_specimen, analysis=analysis)
        if recover and (found := recovery.found(session.scope, session.recorder)):
            print(f"xrm-sims: {found}; recovering", file=sys.stderr)
            session.recover()
    except BaseException:
        drivers.close()
        raise
    return session


def run_metadata(operator: str = "") -> dict[str, Any]:
    """Return the metadata of every run: operator, host, versions."""
    return {
        "operator": operator or getpass.getuser(),
        "host": platform.node(),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS}
        | {"python": platform.python_version()},
    }
