"""Reconstruction of cone-beam scans: projector pair, SART with total variation, geometry correction, run consumers."""

from recon.projector import backproject, project
from recon.sart import SartResult, sart

__all__ = ["SartResult", "backproject", "project", "sart"]
