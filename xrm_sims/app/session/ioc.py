"""``xrm-sims ioc``: serve the twin over Channel Access, as a real instrument is served by its own IOC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices import Instrument
from xrm_sims.app.session.hardware import TWIN, loopback_by_default, open_hardware, session_settings
from xrm_sims.data.layout import Layout


def serve_twin(data: Path | None, *, prefix: str, announce: Callable[[str], object], **twin_options: Any) -> None:
    """Serve until interrupted. Then all moves stop; beams and positions stay as they are.

    Raises the errors of ``open_session`` for a twin, and RuntimeError when caproto is not installed.
    """
    loopback_by_default()
    try:
        from xrm_sims.epics.ioc import serve
    except ModuleNotFoundError as missing:
        raise RuntimeError(f"ioc: {missing.name} is not installed; pip install 'xrm-sims[epics]'") from None

    layout = Layout.of(data)
    settings = session_settings(layout.root)
    twin, _ = open_hardware(layout.root, settings, TWIN, **twin_options)
    scope = Instrument(twin, settings, layout.frames)

    def ready(variables: int) -> None:
        announce(f"serving {variables} process variables {prefix}... of {layout.root}; Ctrl-C ends")

    try:
        serve(scope, prefix, ready=ready)
    finally:
        scope.stop()  # no client can stop a move or a frame any more
        scope.close()
        twin.close()
