"""The console: IPython with the start-up files of the profile, and the names that they define."""

from __future__ import annotations

import atexit
import inspect
import os
import signal
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from bluesky.callbacks.best_effort import BestEffortCallback
from traitlets.config import Config

from xrm_sims.app.console.commands import Commands, state_text
from xrm_sims.app.night.queue_server import annotate_parameters
from xrm_sims.app.session.recovery import beams_on
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.data.layout import Layout

_ENVIRONMENT = {"seed": "XRM_SIMS_SEED", "sample": "XRM_SIMS_SAMPLE", "clock": "XRM_SIMS_CLOCK"}
_opened: list[Session] = []


def start_console(data: Path | None = None, *, settings: Path | None = None, **session_options: Any) -> None:
    """Run IPython with the start-up files of ``profile_collection`` until the user leaves, then close the instrument.

    Raises what :func:`~xrm_sims.app.session.session.open_session` raises, before the prompt appears.
    """
    from IPython import start_ipython

    config = prompt_config()
    startup = Path(str(files("profile_collection"))) / "startup"
    config.InteractiveShellApp.exec_files = [str(path) for path in sorted(startup.glob("*.py"))]
    if settings is not None:
        from xrm_sims.correlate.settings import load_analysis_settings

        session_options["analysis"] = load_analysis_settings(Layout.of(data).root, settings)
    with open_session(data, **session_options) as session:
        _opened.append(session)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # IPython and the RunEngine handle Ctrl-C
        for number in (signal.SIGTERM, signal.SIGHUP):  # the next session recovers after a killed console
            signal.signal(number, signal.SIG_DFL)
        try:
            # IPython writes its history into the data root, not into the package's folder
            (session.data / "ipython").mkdir(exist_ok=True)
            start_ipython(argv=["--ipython-dir", str(session.data / "ipython")], config=config)
        finally:
            _opened.clear()
            for name in beams_on(session.scope):
                print(f"xrm-sims: the {name} is still on; xrm-sims recover --data {session.data} blanks it")


def prompt_config() -> Config:
    """Return IPython's configuration. Tab reads attributes of the objects, because devices create theirs at first use;
    it never calls anything."""
    config = Config()
    config.TerminalIPythonApp.display_banner = False
    config.TerminalInteractiveShell.confirm_exit = False
    config.IPCompleter.use_jedi = False
    config.IPCompleter.evaluation = "unsafe"
    config.IPCompleter.policy_overrides = {"allow_any_calls": False}
    return config


def console_session() -> Session:
    """Return the session of this console.

    IPython or a queue server that runs the profile directly opens a session with the options of the environment:
    XRM_SIMS_DATA, XRM_SIMS_SEED, XRM_SIMS_SAMPLE, XRM_SIMS_CLOCK.
    """
    if _opened:
        return _opened[0]
    given = {option: os.environ[name] for option, name in _ENVIRONMENT.items() if name in os.environ}
    session = open_session(**{**given, **({"seed": int(given["seed"])} if "seed" in given else {})})  # type: ignore[arg-type]
    atexit.register(session.close)
    Finalize(None, session.close, exitpriority=1)  # for the worker of a queue server, a process of multiprocessing
    return session


class RunTables(BestEffortCallback):
    """Bluesky's printed tables; scans of this project show a progress bar instead of a row for each point."""

    def start(self, doc: Any) -> None:
        (self.disable_table if "scan_type" in doc else self.enable_table)()  # type: ignore[no-untyped-call]
        super().start(doc)  # type: ignore[no-untyped-call]


class LazyClient:
    """A catalogue client that is opened at first use, which takes seconds, and contains every run of this session."""

    def __init__(self, open_client: Callable[[], Any], flush: Callable[[], object]) -> None:
        self._open_client = cache(open_client)
        self._flush = flush

    def _client(self) -> Any:
        self._flush()
        return self._open_client()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # IPython looks for a dozen display methods of every object
            raise AttributeError(name)
        return getattr(self._client(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._client()(*args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._client()[key]

    def __len__(self) -> int:
        return len(self._client())

    def __iter__(self) -> Any:
        return iter(self._client())

    def __contains__(self, key: object) -> bool:
        return key in self._client()

    def __dir__(self) -> list[str]:
        return dir(self._client())

    def __repr__(self) -> str:
        return repr(self._client())


def namespace(session: Session) -> dict[str, Any]:
    """Return the names at the prompt: RE, scope and its devices, plans, catalogues, a live reconstruction, commands."""
    import bluesky.plan_stubs as bps
    import bluesky.plans as bp
    import numpy as np
    from bluesky.simulators import summarize_plan

    import plans
    import recon
    from xrm_sims import patterns
    from xrm_sims.app.session.resume import resume_run

    devices = {name: getattr(session.scope, name) for name in session.scope.component_names}
    own_plans = {name: getattr(plans, name) for name in plans.__all__} | {"night": _night_of(session)}
    for plan in own_plans.values():
        if inspect.isgeneratorfunction(plan):
            annotate_parameters(plan)
    flush = session.recorder.flush
    return (
        devices
        | own_plans
        | Commands(session, own_plans["night"]).names()
        | {
            "session": session,
            "RE": session.RE,
            "scope": session.scope,
            "cat": LazyClient(lambda: session.catalog, flush),
            "db": LazyClient(lambda: session.db, flush),
            "bp": bp,
            "bps": bps,
            "mv": bps.mv,
            "count": bp.count,
            "scan": bp.scan,
            "summarize_plan": summarize_plan,
            "np": np,
            "recon": recon,
            "resume": lambda run: resume_run(session.scope, run, session.data, announce=print),
            "live": recon.LiveReconstruction(),  # idle until RE.subscribe(live)
            "Rectangle": patterns.Rectangle,
            "Polygon": patterns.Polygon,
            "Annulus": patterns.Annulus,
            "CrossSection": patterns.CrossSection,
        }
    )


def _night_of(session: Session) -> Callable[..., Any]:
    """Return the plan :func:`plans.night` with the arguments that a session provides."""

    def night(scope: Any, sheet: str | dict[str, Any], anew: bool = False) -> Any:
        """Run a night sheet, specimen by specimen, step by step. docs/night.md describes the sheet.

        Parameters
        ----------
        sheet : path of the TOML file, or its content as a table.
        anew : begin with the first step, even if the last night had the same sheet and was interrupted.

        Example
        -------
        >>> RE(night(scope, "sheet.toml"))
        """
        from xrm_sims.app.night.runner import night_plan

        return (yield from night_plan(session, Path(sheet) if isinstance(sheet, str) else sheet, anew=anew))

    return night


def banner(session: Session) -> str:
    """Return the state of the instrument and the most used commands."""
    return "\n".join(
        [
            f"xrm-sims on {session.settings.name}, data in {session.data}",
            state_text(session),
            "RE(tomography(scope, num=60, step_deg=6, binning=4))   quick tomogram",
            "RE(sims_raster(scope, fov_um=11.8))                    map of Li, Al, Ni, Co",
            "RE(mv(rotation.angle_deg, 90))                         move a motor; RE(count([beam])) reads a device",
            "RE(resume('3f2a9'))                                    measure what an interrupted run is missing",
            "RE.subscribe(live)                                     reconstruct tomograms during the scan: live.slice",
            "status()  park()  abort_all()  last()  plot()  specimen()  preflight(scope, tomography, num=60)",
            "help(tomography) describes a plan; Ctrl-C twice pauses, RE.resume() continues, RE.abort() ends",
        ]
    )
