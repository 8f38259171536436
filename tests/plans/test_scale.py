"""Full detector format: memory does not grow with the number of projections."""

import tracemalloc

import numpy as np

from plans import tomography


def test_fifty_full_format_projections_in_flat_memory(scope, RE, run):
    """The specimen is out of the beam, so that the twin computes little; a frame of 256 x 1280 has 1.3 MB."""
    scope.stage.z_um.put(-100.0)
    frame_bytes = 256 * 1280 * 4
    grown = []

    def watch(name, doc):
        if name == "event":
            grown.append(tracemalloc.get_traced_memory()[0])

    arguments = {"num": 50, "step_deg": 7.2, "num_dark": 1, "num_flat": 1, "flat_every": 0, "reference_every": 0}
    tracemalloc.start()
    try:
        RE(tomography(scope, **arguments), watch)
    finally:
        tracemalloc.stop()
    frames = run.frames("primary")
    assert frames.shape == (50, 256, 1280)
    assert np.abs(frames.mean(axis=(1, 2)) / frames.mean() - 1).max() < 0.01
    assert max(grown[10:]) - grown[10] < 8 * frame_bytes
