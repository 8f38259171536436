"""Volumes as results of a run: reconstruction, resolution, two targets."""
