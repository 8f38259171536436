"""The console: IPython on the profile's start-up files, and the names they put into the namespace."""

from __future__ import annotations

import atexit
import inspect
import os
import signal
from collections.abc import Callable
from importlib.resources import files
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from bluesky.callbacks.best_effort import BestEffortCallback
from traitlets.config import Config

from xrm_sims.app.console.commands import Words, state_text
from xrm_sims.app.night.queue_server import spell_out
from xrm_sims.app.session.recovery import beams_on
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.data.layout import Layout

_ENVIRONMENT = {"seed": "XRM_SIMS_SEED", "sample": "XRM_SIMS_SAMPLE", "clock": "XRM_SIMS_CLOCK"}
_opened: list[Session] = []


def start_console(data: Path | None = None, *, settings: Path | None = None, **session_options: Any) -> None:
    """IPython with the start-up files of ``profile_collection``; returns when the user leaves, the instrument free.

    Raises what :func:`~xrm_sims.app.session.session.open_session` raises, before there is a prompt.
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
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C belongs to IPython and the RunEngine now
        for number in (signal.SIGTERM, signal.SIGHUP):  # a killed console is a crash, and the next session recovers
            signal.signal(number, signal.SIG_DFL)
        try:
            # history and the like belong to the data root, never to the package's folder
            (session.data / "ipython").mkdir(exist_ok=True)
            start_ipython(argv=["--ipython-dir", str(session.data / "ipython")], config=config)
        finally:
            _opened.clear()
            for name in beams_on(session.scope):
                print(f"xrm-sims: the {name} is still on; xrm-sims recover --data {session.data} blanks it")


def prompt_config() -> Config:
    """How the prompt completes and leaves. Attributes are looked up in the living objects, as devices make theirs when
    asked; nothing is ever called by a Tab."""
    config = Config()
    config.TerminalIPythonApp.display_banner = False
    config.TerminalInteractiveShell.confirm_exit = False
    config.IPCompleter.use_jedi = False
    config.IPCompleter.evaluation = "unsafe"
    config.IPCompleter.policy_overrides = {"allow_any_calls": False}
    return config


def console_session() -> Session:
    """The session of this console. IPython or a queue server on the profile alone opens one from the environment:
    XRM_SIMS_DATA, XRM_SIMS_SEED, XRM_SIMS_SAMPLE, XRM_SIMS_CLOCK."""
    if _opened:
        return _opened[0]
    given = {option: os.environ[name] for option, name in _ENVIRONMENT.items() if name in os.environ}
    session = open_session(**{**given, **({"seed": int(given["seed"])} if "seed" in given else {})})  # type: ignore[arg-type]
    atexit.register(session.close)
    Finalize(None, session.close, exitpriority=1)  # a queue server's worker is a process of multiprocessing's
    return session


class Commentary(BestEffortCallback):
    """bluesky's running commentary, without plots; this project's own scans show a bar in place of a line per point."""

    def __init__(self) -> None:
        super().__init__()
        self.disable_plots()

    def start(self, doc: Any) -> None:
        if "scan_type" in doc:
            self.disable_table()
        else:
            self.enable_table()
        super().start(doc)


class WhenAsked:
    """A catalogue client that is made when somebody first looks, because that takes seconds, and that has every run
    this session has recorded."""

    def __init__(self, make: Callable[[], Any], flush: Callable[[], object]) -> None:
        self._make = make
        self._flush = flush
        self._client: Any = None

    def _now(self) -> Any:
        self._flush()
        if self._client is None:
            self._client = self._make()
        return self._client

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # IPython asks every object for a dozen ways to show it
            raise AttributeError(name)
        return getattr(self._now(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._now()[key]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._now()(*args, **kwargs)

    def __len__(self) -> int:
        return len(self._now())

    def __iter__(self) -> Any:
        return iter(self._now())

    def __contains__(self, key: object) -> bool:
        return key in self._now()

    def __dir__(self) -> list[str]:
        return dir(self._now())

    def __repr__(self) -> str:
        return repr(self._now())


def namespace(session: Session) -> dict[str, Any]:
    """Names at the prompt: RE, scope and its devices, the plans, bluesky's own, cat and db, a live reconstruction."""
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
            spell_out(plan)
    flush = session.recorder.flush
    return (
        devices
        | own_plans
        | Words(session, own_plans["night"]).names()
        | {
            "session": session,
            "RE": session.RE,
            "scope": session.scope,
            "cat": WhenAsked(lambda: session.catalog, flush),
            "db": WhenAsked(lambda: session.db, flush),
            "bp": bp,
            "bps": bps,
            "mv": bps.mv,
            "count": bp.count,
            "scan": bp.scan,
            "summarize_plan": summarize_plan,
            "np": np,
            "recon": recon,
            "resume": lambda run: resume_run(session.scope, run, session.data, announce=print),
            "live": recon.LiveReconstruction(),  # idle until somebody says RE.subscribe(live)
            "Rectangle": patterns.Rectangle,
            "Polygon": patterns.Polygon,
            "Annulus": patterns.Annulus,
            "CrossSection": patterns.CrossSection,
        }
    )


def _night_of(session: Session) -> Callable[..., Any]:
    """The plan :func:`plans.night` with everything filled in that a person does not want to say."""

    def night(scope: Any, sheet: str | dict[str, Any], anew: bool = False) -> Any:
        """A night sheet, specimen by specimen, step by step: docs/night.md says what it holds.

        Parameters
        ----------
        sheet : path of the TOML file, or its content as a table.
        anew : begin again, also when the last night was this sheet's and was interrupted; it goes on otherwise.

        Example
        -------
        >>> RE(night(scope, "sheet.toml"))
        """
        from xrm_sims.app.night.runner import night_plan

        return (yield from night_plan(session, Path(sheet) if isinstance(sheet, str) else sheet, anew=anew))

    return night


def banner(session: Session) -> str:
    """What a person needs to know when sitting down."""
    return "\n".join(
        [
            f"xrm-sims on {session.settings.name}, data in {session.data}",
            state_text(session),
            "RE(tomography(scope, num=60, step_deg=6, binning=4))   takes a quick tomogram",
            "RE(sims_raster(scope, fov_um=11.8))                    maps Li, Al, Ni, Co",
            "RE(mv(rotation.angle_deg, 90))                         moves; RE(count([beam])) reads",
            "RE(resume('3f2a9'))                                    takes what an interrupted run is missing",
            "RE.subscribe(live)                                     rebuilds tomograms as they come: live.slice",
            "status()  park()  abort_all()  last()  plot()  specimen()  preflight(scope, tomography, num=60)",
            "help(tomography) says what a plan can do; Ctrl-C twice pauses, RE.resume() goes on, RE.abort() ends",
        ]
    )
