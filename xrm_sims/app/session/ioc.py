"""``xrm-sims ioc``: the twin behind a Channel Access server, as a real instrument stands behind its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices import Instrument
from xrm_sims.app.session.hardware import loopback_by_default, open_twin, session_settings
from xrm_sims.data.layout import Layout


def serve_twin(data: Path | None, *, prefix: str, announce: Callable[[str], object], **twin_options: Any) -> None:
    """Serve until stopped; what moves then stops, and the twin stays as it is, beams and all.

    Raises what :func:`~xrm_sims.app.session.session.open_session` raises for a twin, and RuntimeError without caproto.
    """
    loopback_by_default()
    try:
        from xrm_sims.epics.ioc import serve
    except ModuleNotFoundError as missing:
        raise RuntimeError(f"ioc: {missing.name} is not installed; pip install 'xrm-sims[epics]'") from None

    layout = Layout.of(data)
    settings = session_settings(layout.root)
    twin, _ = open_twin(layout.root, settings, **twin_options)
    scope = Instrument(twin, settings, layout.frames)

    def ready(variables: int) -> None:
        announce(f"serving {variables} process variables {prefix}... of {layout.root}; Ctrl-C ends")

    try:
        serve(scope, prefix, ready=ready)
    finally:
        scope.stop()  # nobody is there any more to end a move or a frame
        scope.close()
        twin.close()
