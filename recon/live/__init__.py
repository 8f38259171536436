"""Reconstruction of a run while it is taken."""

from recon.live.live_reconstruction import LiveReconstruction, Progress

__all__ = ["LiveReconstruction", "Progress"]
