"""A session at the instrument: hardware, RunEngine, catalogue, and what keeps them safe."""

from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.session.session import Session, open_session

__all__ = ["Session", "open_session", "session_settings"]
