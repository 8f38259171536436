"""Reconstruct another scan of a specimen on the grid of an existing volume, whose edges guide the total variation.

The transform between the specimen frames of the two scans goes into the geometry, so that nothing is resampled: a shift
across the beam moves the image and turns the line of sight, one along it changes the magnification, a height and a
pitch tilt the line of sight, and a scale is that of the distance from the source. The remaining part turns the image in
its plane; only where that exceeds the blur of an interpolation are the projections turned back.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from recon.frames.flat_field import Float
from recon.frames.prepare import Prepared, correct_beam_hardening
from recon.kernels.progress import Progress
from recon.kernels.roll import upright
from recon.runs import Reconstruction, prepare_run, reconstruct
from xrm_sims.geometry import ConeGeometry, Geometry

NOISE_UNITS = 4.0  # strength of the guided total variation; it keeps the edges, so that more noise can be removed
TURNED_PX = 0.5  # at the corners of the image; an interpolation blurs by about as much


def from_run_beside(
    run: Any,
    geometry: Geometry,
    guide: NDArray[np.float32],
    matrix: ArrayLike,
    voxel_um: float,
    *,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct a run on the grid of a volume of the same specimen from another run.

    Parameters as for :func:`reconstruct_beside`; ``run`` as for :func:`recon.from_run`, ``geometry`` its corrected one.
    Raises ValueError as :func:`recon.from_run`, and for a geometry with another number of views than the run.
    """
    scan = prepare_run(run, progress)
    if geometry.num_views != scan.geometry.num_views:
        raise ValueError(
            f"run {scan.uids[0]}: has {scan.geometry.num_views} views, and its geometry was corrected for "
            f"{geometry.num_views}; reconstruct it anew: xrm-sims reconstruct {scan.uids[0][:8]}"
        )
    scan = replace(scan, geometry=geometry)
    correct_beam_hardening(scan)
    return reconstruct_beside(scan, guide, matrix, voxel_um, progress=progress)


def reconstruct_beside(
    scan: Prepared,
    guide: NDArray[np.float32],
    matrix: ArrayLike,
    voxel_um: float,
    *,
    tv: float = NOISE_UNITS,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct a prepared scan on the grid of another volume of the same specimen.

    The volume has the shape of the guide, and attenuation per length of the guide. Raises ValueError for a scan that is
    no cone beam, and as :func:`recon.sart`.

    Parameters
    ----------
    scan : line integrals with their corrected geometry.
    guide : (z, y, x) the other volume, in voxels of ``voxel_um``.
    matrix : 3 x 4 affine from (x, y, z) in the frame of the guide to the frame of the scan, both in um: rotation, scale
        and shift.
    tv : strength of the guided total variation in units of the noise (:mod:`recon.kernels.guided_variation`).
    progress : called with the stage ("reconstruction") and the finished fraction of it.
    """
    nz, ny, nx = guide.shape
    moved = in_frame(scan, matrix, (nz, ny, nx), voxel_um)
    return reconstruct(moved, guide=guide, tv=tv, progress=progress)


def in_frame(scan: Prepared, matrix: ArrayLike, volume_shape: tuple[int, int, int], voxel_um: float) -> Prepared:
    """Describe a scan in another frame of the specimen, with a volume in that frame; arguments as above.

    The error is of second order, a hundredth of a pixel for a micrometre at 400 um.
    """
    g = scan.geometry
    if not isinstance(g, ConeGeometry):
        raise ValueError("geometry: needs a cone beam to put a shift along the beam into its magnification")
    affine = np.asarray(matrix, float)
    scale = float(np.cbrt(np.linalg.det(affine[:, :3])))
    tilt_x, tilt_y, turn = Rotation.from_matrix(affine[:, :3] / scale).as_rotvec()
    shift_x, shift_y, shift_z = affine[:, 3]
    cos, sin = np.cos(np.radians(g.angles_deg)), np.sin(np.radians(g.angles_deg))
    along_um, across_um = cos * shift_x - sin * shift_y, sin * shift_x + cos * shift_y
    roll, pitch = cos * tilt_x - sin * tilt_y, sin * tilt_x + cos * tilt_y  # about the beam, and about y
    source_um, still = g.source_object_mm * 1e3, np.zeros((g.num_views, 2))
    magnified = np.ones(g.num_views) if g.view_scale is None else g.view_scale
    shifts_px = still if g.view_shifts_px is None else g.view_shifts_px
    height_um = still[:, 0] if g.view_height_um is None else g.view_height_um
    px_per_um = g.source_detector_mm / g.pixel_mm * magnified / source_um
    moved = replace(
        g,
        volume_shape=volume_shape,
        voxel_um=voxel_um,
        source_object_mm=g.source_object_mm / scale,
        axis_offset_um=g.axis_offset_um / scale,
        angles_deg=g.angles_deg + np.degrees(turn - across_um / source_um),
        view_shifts_px=shifts_px + np.column_stack([shift_z * px_per_um, across_um * px_per_um]),
        view_scale=magnified * source_um / (source_um + along_um),
        view_height_um=(height_um - shift_z - pitch * source_um) / scale,
    )
    p, weights = (_turned_back(stack, moved, roll) for stack in (scan.p, scan.weights))
    return replace(scan, geometry=moved, p=p, weights=weights)


def _turned_back(stack: NDArray[Float], geometry: ConeGeometry, roll: NDArray[np.float64]) -> NDArray[Float]:
    """Turn images (angle, row, column) back by ``roll`` in rad for each view, zero where nothing was measured."""
    if 0.5 * math.hypot(*geometry.detector_shape) * np.abs(roll).max() < TURNED_PX:
        return stack
    turned = np.empty_like(stack)
    for view, angle_deg in enumerate(np.degrees(roll)):
        one = replace(geometry.only(np.array([view])), detector_roll_deg=float(angle_deg))
        turned[view] = upright(stack[view : view + 1].astype(np.float32, copy=False), one)[0]
    return turned
