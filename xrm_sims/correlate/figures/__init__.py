"""Figures drawn with matplotlib."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Look names up in ``map_figures``: ``xrm_sims.correlate.figures`` was that module before."""
    return getattr(import_module("xrm_sims.correlate.figures.map_figures"), name)
