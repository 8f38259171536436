"""The volume that the solver needs: more slices where views see them, no columns outside of the support."""

from dataclasses import replace

import numpy as np

from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, scan_geometry
from recon.frames.prepare import Prepared
from recon.kernels.binning import binned_images
from recon.kernels.support import field_of_view_um, resized, solver_geometry, support_radius_um
from recon.runs import reconstruct


def test_a_vertical_drift_leaves_the_lowest_slices_at_the_level_of_the_others():
    """Material below the volume that drifts into view must not add to the lowest slices."""
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


def test_the_solver_gets_the_slices_that_are_seen_and_the_columns_of_the_support():
    geometry = scan_geometry(64, 32, 8)
    nz, ny, nx = geometry.volume_shape
    narrow = solver_geometry(geometry, 0.25 * field_of_view_um(geometry))
    assert narrow.volume_shape[0] > nz
    assert narrow.volume_shape[1] < ny
    drifting = replace(geometry, view_shifts_px=np.column_stack([np.full(8, 6.0), np.zeros(8)]))
    wide = solver_geometry(drifting, field_of_view_um(geometry), trim=False)
    assert wide.volume_shape == (solver_geometry(geometry, field_of_view_um(geometry)).volume_shape[0] + 12, ny, nx)


def test_the_support_is_no_larger_than_the_field_of_view():
    geometry = scan_geometry(64, 32, 8)
    field_um = field_of_view_um(geometry)
    assert support_radius_um(geometry, None) == support_radius_um(geometry, field_um) == field_um
    assert 0.5 * field_um < support_radius_um(geometry, 0.5 * field_um) < field_um


def test_resizing_cuts_and_pads_about_the_middle():
    volume = np.arange(4 * 6 * 6, dtype=np.float32).reshape(4, 6, 6)
    padded = resized(volume, (2, 10, 6))
    assert padded.shape == (2, 10, 6)
    np.testing.assert_array_equal(padded[:, 2:-2], volume[1:3])
    assert not padded[:, :2].any()
    np.testing.assert_array_equal(resized(padded, (2, 6, 6)), volume[1:3])
    assert np.shares_memory(resized(volume, (2, 4, 4)), volume)


def test_bins_take_all_rows_of_a_low_detector():
    images = np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 9)
    binned = binned_images(images, 4)
    assert binned.shape == (2, 1, 2)
    assert binned[0, 0, 0] == images[0, :, :4].mean()
