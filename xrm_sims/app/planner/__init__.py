"""Predict time, counts, noise and resolution of a protocol before it is measured, and find one for given requirements.

Counts and yields come from the twin's tables, times from the plans; noise and blur of filtered back projection are
computed by formulas. ``benchmarks.planner`` compares the predictions with scans on the twin.
"""

from xrm_sims.app.planner.predict import Planner, Prediction
from xrm_sims.app.planner.protocols import Protocol, faster_protocols, paper_protocol
from xrm_sims.app.planner.search import Requirements, find_map, find_protocol

__all__ = [
    "Planner",
    "Prediction",
    "Protocol",
    "Requirements",
    "faster_protocols",
    "find_map",
    "find_protocol",
    "paper_protocol",
]
