"""Material below the window that drifts into view must not add to the lowest slices."""

from dataclasses import replace

import numpy as np

from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, scan_geometry
from recon.frames.prepare import Prepared
from recon.runs import reconstruct


def test_a_vertical_drift_leaves_the_lowest_slices_at_the_level_of_the_others():
    views = 90
    drift = np.column_stack([np.linspace(0, 6, views), np.zeros(views)])
    geometry = replace(scan_geometry(64, 32, views), view_shifts_px=drift)
    p = exact_projections(pillar_with_spheres(64, 32, seed=4), geometry)
    known = Prepared(
        replace(geometry), p, np.ones_like(p), np.arange(views, dtype=float), None, np.zeros(0), ("made up",)
    )
    volume = reconstruct(known, sweeps=2, tv=0.0).volume
    assert volume.shape == geometry.volume_shape
    middle = np.quantile(volume[12:20], 0.99)
    assert np.quantile(volume[0], 0.99) < 1.5 * middle
