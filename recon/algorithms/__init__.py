"""Algorithms on arrays: SART, FDK, beam hardening, focal spot."""
