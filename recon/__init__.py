"""Reconstruction of cone-beam scans: projector pair, SART with total variation, geometry correction, run consumers."""

from recon.alignment import correct_geometry
from recon.documents import TomographyConsumer
from recon.preparation import line_integrals
from recon.projector import backproject, project
from recon.runs import LiveReconstruction, Reconstruction, from_run
from recon.sart import SartResult, memory_needed, sart

__all__ = [
    "LiveReconstruction",
    "Reconstruction",
    "SartResult",
    "TomographyConsumer",
    "backproject",
    "correct_geometry",
    "from_run",
    "line_integrals",
    "memory_needed",
    "project",
    "sart",
]
