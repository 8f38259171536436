"""Numba kernels: projector pair, regularisers, and the checks of their arguments."""
