"""Another scan of a specimen reconstructed on the grid of the volume there is, whose edges it is guided by.

Where the specimen of the one scan lies in the frame of the other goes into the geometry, so that nothing is resampled:
a shift across the beam moves the image and turns the line of sight, one along it changes the magnification, a height
and a pitch tilt the line of sight, and a scale is that of the distance from the source. What is left turns the image in
its plane; only where that is more than the blur of an interpolation is it taken off the projections.
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

NOISE_UNITS = 4.0  # of the total variation that a guide steers: it spares the edges, so that more noise may go
TURNED_PX = 0.5  # at the corners of the image: an interpolation blurs by about as much


def from_run_beside(
    run: Any,
    geometry: Geometry,
    guide: NDArray[np.float32],
    matrix: ArrayLike,
    voxel_um: float,
    *,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct a run on the grid of a volume that another run of the same specimen gave.

    Parameters
    ----------
    run : as for :func:`recon.from_run`.
    geometry : of the run, corrected.
    guide, matrix, voxel_um, progress : as for :func:`reconstruct_beside`; stages are those of :func:`recon.from_run`.

    Raises
    ------
    ValueError in one sentence: what :func:`recon.from_run` refuses, and a geometry of other views than the run's.
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

    Parameters
    ----------
    scan : line integrals, with the geometry that was corrected for them.
    guide : (z, y, x) that volume, in voxels of ``voxel_um``.
    matrix : 3 x 4 affine from (x, y, z) in the frame of the guide to the frame of the scan, both in um: rotation, scale
        and shift.
    tv : strength of the guided total variation in units of the noise (:mod:`recon.guided_variation`).
    progress : called with the stage ("reconstruction") and the finished fraction of it.

    Returns
    -------
    The :class:`Reconstruction`: its volume has the guide's shape, attenuation per length of the guide.

    Raises
    ------
    ValueError for a scan that is no cone beam, and for whatever :func:`recon.sart` refuses.
    """
    nz, ny, nx = guide.shape
    moved = in_frame(scan, matrix, (nz, ny, nx), voxel_um)
    return reconstruct(moved, correct=False, guide=guide, tv=tv, progress=progress)


def in_frame(scan: Prepared, matrix: ArrayLike, volume_shape: tuple[int, int, int], voxel_um: float) -> Prepared:
    """The scan as if the specimen were fixed to another frame and the volume lay in that; arguments as above.

    What that leaves out is of second order, a hundredth of a pixel for a micrometre at 400 um.
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
    """Images (angle, row, column) turned back by ``roll``, in rad for each view, zero where nothing was measured."""
    if 0.5 * math.hypot(*geometry.detector_shape) * np.abs(roll).max() < TURNED_PX:
        return stack
    turned = np.empty_like(stack)
    for view, angle_deg in enumerate(np.degrees(roll)):
        one = replace(geometry.only(np.array([view])), detector_roll_deg=float(angle_deg))
        turned[view] = upright(stack[view : view + 1].astype(np.float32, copy=False), one)[0]
    return turned
