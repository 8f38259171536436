"""Reconstruction of cone-beam scans: projector pair, SART with total variation, geometry correction, run consumers."""

from recon.algorithms.beam_hardening import beam_hardening_correction
from recon.algorithms.fdk import fdk
from recon.algorithms.focal_spot import FocalSpot, sharpen
from recon.algorithms.sart import SartResult, memory_needed, sart
from recon.algorithms.solver import Solver
from recon.alignment.axis import find_axis
from recon.alignment.geometry_correction import correct_geometry, describe_correction
from recon.frames.documents import TomographyConsumer
from recon.frames.flat_field import line_integrals
from recon.joint import from_run_beside
from recon.kernels.projector import backproject, project
from recon.live.live_reconstruction import LiveReconstruction
from recon.quality.edge_resolution import EdgeResolution, edge_resolution
from recon.quality.fourier_shell import FourierShell, fourier_shell_correlation, half_volumes
from recon.runs import Reconstruction, correct_run, from_run, prepare_run

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
