"""The console: IPython on the profile's start-up files, and the names they put into the namespace."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from xrm_sims.app.session import Session, open_session
from xrm_sims.data.layout import data_root


def start_console(
    data: Path | None = None, *, seed: int | None = None, sample: str | None = None, clock: str = "fast"
) -> None:
    """IPython with the start-up files of ``profile_collection``; returns when the user leaves."""
    from IPython import start_ipython
    from traitlets.config import Config

    root = data_root(data)
    root.mkdir(parents=True, exist_ok=True)
    os.environ["XRM_SIMS_DATA"] = str(root)
    os.environ["XRM_SIMS_CLOCK"] = clock
    if seed is not None:
        os.environ["XRM_SIMS_SEED"] = str(seed)
    if sample is not None:
        os.environ["XRM_SIMS_SAMPLE"] = sample
    config = Config()
    startup = Path(str(files("profile_collection"))) / "startup"
    config.InteractiveShellApp.exec_files = [str(path) for path in sorted(startup.glob("*.py"))]
    config.TerminalInteractiveShell.banner1 = ""
    config.TerminalIPythonApp.display_banner = False
    # history and the like belong to the data root, never to the package's folder
    start_ipython(argv=["--ipython-dir", str(root / "ipython")], config=config)


def console_session() -> Session:
    """The session of a console, from the environment: XRM_SIMS_DATA, XRM_SIMS_SEED, XRM_SIMS_SAMPLE, XRM_SIMS_CLOCK."""
    seed = os.environ.get("XRM_SIMS_SEED")
    return open_session(
        seed=int(seed) if seed else None,
        sample=os.environ.get("XRM_SIMS_SAMPLE"),
        clock=os.environ.get("XRM_SIMS_CLOCK", "fast"),
    )


def namespace(session: Session) -> dict[str, Any]:
    """Names at the prompt: RE, scope and its devices, the plans, bluesky's own, cat and db."""
    import bluesky.plan_stubs as bps
    import bluesky.plans as bp
    import numpy as np

    import plans
    import recon

    devices = {name: getattr(session.scope, name) for name in session.scope.component_names}
    own_plans = {name: getattr(plans, name) for name in plans.__all__}
    return (
        devices
        | own_plans
        | {
            "session": session,
            "RE": session.RE,
            "scope": session.scope,
            "cat": session.catalog,
            "db": session.db,
            "bp": bp,
            "bps": bps,
            "np": np,
            "recon": recon,
        }
    )


def banner(session: Session) -> str:
    """What a person needs to know when sitting down."""
    return "\n".join(
        [
            f"xrm-sims on {session.settings.name}, data in {session.data}",
            session.scope.describe_state(),
            "RE(tomography(scope, num=60, step_deg=6, binning=4))   takes a quick tomogram",
            "RE(sims_raster(scope, fov_um=11.8))                    maps Li, Al, Ni, Co (mode fib, stage bias 500 V)",
            "db[-1] is the last run; help(tomography) says what a plan can do; Ctrl-C twice pauses",
        ]
    )
