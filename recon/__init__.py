"""Reconstruction of cone-beam scans: projector pair, SART with total variation, geometry correction, run consumers."""

from recon.alignment import correct_geometry
from recon.documents import TomographyConsumer
from recon.live import LiveReconstruction
from recon.preparation import line_integrals
from recon.projector import backproject, project
from recon.runs import Reconstruction, from_run
from recon.sart import SartResult, memory_needed, sart
from recon.solver import Solver

__all__ = [
    "LiveReconstruction",
    "Reconstruction",
    "SartResult",
    "Solver",
    "TomographyConsumer",
    "backproject",
    "correct_geometry",
    "from_run",
    "line_integrals",
    "memory_needed",
    "project",
    "sart",
]
