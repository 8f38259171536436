"""Reconstruction of cone-beam scans: projector pair, SART with total variation, geometry correction, run consumers."""

from recon.alignment import correct_geometry, describe_correction
from recon.axis import find_axis
from recon.beam_hardening import beam_hardening_correction
from recon.documents import TomographyConsumer
from recon.fdk import fdk
from recon.focal_spot import FocalSpot, sharpen
from recon.fourier_shell import FourierShell, fourier_shell_correlation, half_volumes
from recon.joint import from_run_beside
from recon.live import LiveReconstruction
from recon.preparation import line_integrals
from recon.projector import backproject, project
from recon.resolution import EdgeResolution, edge_resolution
from recon.runs import Reconstruction, correct_run, from_run, prepare_run
from recon.sart import SartResult, memory_needed, sart
from recon.solver import Solver

__all__ = [
    "EdgeResolution",
    "FocalSpot",
    "FourierShell",
    "LiveReconstruction",
    "Reconstruction",
    "SartResult",
    "Solver",
    "TomographyConsumer",
    "backproject",
    "beam_hardening_correction",
    "correct_geometry",
    "correct_run",
    "describe_correction",
    "edge_resolution",
    "fdk",
    "find_axis",
    "fourier_shell_correlation",
    "from_run",
    "from_run_beside",
    "half_volumes",
    "line_integrals",
    "memory_needed",
    "prepare_run",
    "project",
    "sart",
    "sharpen",
]
