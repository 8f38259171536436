"""Protocols before they are measured: time, counts, noise, resolution, what can be seen and what is lost.

Counts and yields are the twin's tables, times those of the plans; noise and blur are followed through filtered back
projection by formulas. ``benchmarks.planner`` holds them against scans on the twin.
"""

from xrm_sims.app.planner.outlook import Outlook, Planner
from xrm_sims.app.planner.protocols import Protocol, faster_ones, paper
from xrm_sims.app.planner.wishes import Wishes, fulfil, map_for

__all__ = ["Outlook", "Planner", "Protocol", "Wishes", "faster_ones", "fulfil", "map_for", "paper"]
