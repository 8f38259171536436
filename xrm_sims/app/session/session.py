"""The composition root: a data folder, the instrument, a RunEngine and the catalogue, wired together once.

Here, and nowhere else, the hardware behind the devices is chosen: the digital twin, or an IOC over EPICS.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import os
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
from xrm_sims.app.session.hardware import HARDWARE, TWIN, open_epics, open_twin, session_settings
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
    """One person at one instrument: ``RE``, ``scope``, ``recorder``, and the catalogue behind ``catalog`` and ``db``.

    Use it as a context manager: leaving it waits until the catalogue has everything and lets go of the instrument.
    """

    def __init__(
        self,
        data: Path,
        drivers: Drivers,
        settings: Settings,
        *,
        operator: str = "",
        check_specimen: Callable[[str], object] = lambda name: None,
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
        self.RE.preprocessors.append(self._as_said)
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
        """Tiled client of all runs."""
        from xrm_sims.data import open_catalog

        return open_catalog(self.data)

    @property
    def db(self) -> Any:
        """databroker's Broker over the same runs; a client of its own, as both views keep state in theirs."""
        from xrm_sims.data import open_catalog

        return open_catalog(self.data).v1

    def run(self, plan: Generator[Any, Any, T], *callbacks: Callable[..., Any]) -> T:
        """Run a plan to its end; its return value.

        One Ctrl-C (SIGTERM, SIGHUP) stops it where it stands, makes the instrument safe, raises :class:`Interrupted`.
        """
        subscriptions = [self.RE.subscribe(callback) for callback in callbacks]
        returned: list[T] = []

        def whole() -> Generator[Any, Any, None]:
            returned.append((yield from plan))

        try:
            with pausing_at_once(self.RE):
                try:
                    self.RE(whole())
                except RunEngineInterrupted:
                    raise Interrupted(self._abort("stopped by the user")) from None
        finally:
            for subscription in subscriptions:
                self.RE.unsubscribe(subscription)
            self.recorder.flush()
        return returned[0]

    def _as_said(self, plan: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """What ``RE.md`` says of specimen and operator takes the place of what a plan says by default."""

        def say(msg: Msg) -> Msg:
            if msg.command != "open_run":
                return msg
            by_default = {"sample_name": self.scope.specimen.get(), "operator": getpass.getuser()}
            said = {key: self.RE.md[key] for key in by_default if key in self.RE.md}
            mine = {key: value for key, value in said.items() if msg.kwargs.get(key) in (None, by_default[key])}
            return msg._replace(kwargs=msg.kwargs | mine)

        return bpp.msg_mutator(plan, say)

    def abort_all(self, reason: str = "emergency stop") -> list[str]:
        """Emergency stop, from any thread: everything stops, both beams are blanked, the target is parked and the plan
        under way is aborted. Returns what was done, and when it is done.

        The hardware comes first and last: whatever the plan still does between the two is undone.
        """
        done = self.scope.emergency_stop()
        if not self.RE.state.is_idle:
            with suppress(TransitionError):  # it has just ended
                self.RE.abort(reason)
                done.append("plan: aborted")
            done += self.scope.emergency_stop()
        return done

    def recover(self) -> list[str]:
        """Make the instrument safe and bring what a crash left in the journal into the catalogue; what was done."""
        return recovery.recover(self.scope, self.recorder, self.run)

    def close(self) -> None:
        """Wait for the catalogue and let go of the instrument; a second call does nothing."""
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
        """End a paused plan; what to tell the user."""
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
    """A session on the digital twin whose memory lies under the data root, or on other hardware.

    ``seed`` and ``sample`` choose the specimen when none is mounted yet; None takes what is mounted. ``fresh`` mounts
    a new one and forgets the old. ``settings`` and ``analysis`` default to ``settings.toml`` in the data root. What a
    crash left (a beam that is on, runs that never ended) is put in order and said on stderr unless ``recover`` is
    False. ``hardware`` is "twin", or "epics:PREFIX" for what ``xrm-sims ioc`` serves; None takes XRM_SIMS_HARDWARE from
    the environment, else the twin.

    Raises ValueError for an unknown sample or another specimen than the mounted one, and RuntimeError naming the
    holder when another process drives this instrument, or when nobody serves the prefix.
    """
    root = Layout.of(data).root
    settings = settings or session_settings(root)
    drivers: Drivers
    if hardware is None:
        hardware = os.environ.get(HARDWARE, TWIN)
    if hardware == TWIN:
        drivers, check_specimen = open_twin(root, settings, seed=seed, sample=sample, clock=clock, fresh=fresh)
    else:
        given = {"seed": seed is not None, "sample": sample is not None, "fresh": fresh, "clock": clock != "fast"}
        if any(given.values()):
            asked = ", ".join(name for name, there in given.items() if there)
            raise ValueError(
                f"{asked}: belongs to the twin, and this session drives {hardware}; say it to xrm-sims ioc"
            )
        drivers, check_specimen = open_epics(hardware), lambda specimen: None
        root.mkdir(parents=True, exist_ok=True)
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
    """What every run says about where it was made: operator, host, versions."""
    return {
        "operator": operator or getpass.getuser(),
        "host": platform.node(),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS}
        | {"python": ".".join(str(part) for part in sys.version_info[:3])},
    }
