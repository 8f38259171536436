"""The simulated microscope: plain Python and Numba, fulfilling the same driver protocols as a real one."""

from xrm_sims.twin.clock import Clock
from xrm_sims.twin.microscope import Microscope
from xrm_sims.twin.specimen_registry import check_sample
from xrm_sims.twin.state_store import InstrumentInUse

__all__ = ["Clock", "InstrumentInUse", "Microscope", "check_sample"]
