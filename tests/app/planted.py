"""A small volume with voids planted in it."""

import numpy as np
from scipy.ndimage import gaussian_filter

import plans
from xrm_sims.app.session.session import open_session
from xrm_sims.app.tomography.tomogram import Tomogram, keep
from xrm_sims.data import find_run
from xrm_sims.geometry import ConeGeometry

SHAPE, VOXEL_UM, ACTIVE_PER_UM, TOP_UM = (64, 128, 128), 0.2, 0.0577, 4.0
# centre (x, y, z) and half axes: the best of two pores within reach, a crack, a pore too deep
VOIDS = {
    "pore": ((2.0, 3.0, 1.0), (0.6, 0.6, 0.6)),
    "deeper": ((-3.0, 1.0, -1.0), (0.5, 0.5, 0.5)),
    "crack": ((-1.0, -4.0, 1.5), (1.5, 1.3, 0.3)),  # of its planes of voxels one is full and two are half so wide
    "too deep": ((4.0, -3.0, -3.5), (0.5, 0.5, 0.5)),
}
SHORT = {"num": 3, "step_deg": 120, "binning": 8, "num_dark": 1, "num_flat": 1}


def searched(data):
    """Uids in a data root: a tomography with the planted volume, one without a volume, an image."""
    with open_session(data, seed=1) as session:
        uids = {
            "tomography": session.run(plans.tomography(session.scope, **SHORT)),
            "bare": session.run(plans.tomography(session.scope, **SHORT)),
            "se_image": session.run(plans.se_image(session.scope, fov_um=50.0, shape=(16, 16))),
        }
    built = find_run(uids["tomography"], data).metadata["start"]["geometry"]
    geometry = ConeGeometry.from_dict({**built, "volume_shape": SHAPE, "voxel_um": VOXEL_UM})
    keep(Tomogram(uids["tomography"], planted(), geometry, np.zeros(1), np.zeros(3), None), data, {})
    return uids


def planted():
    """A solid pillar 20 um wide with the voids in it, blurred, with noise of 4 % of its attenuation."""
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * VOXEL_UM for n in SHAPE), indexing="ij")
    solid = (np.hypot(x, y) < 10.0) & (z < TOP_UM)
    for centre, half in VOIDS.values():
        solid &= sum(((axis - c) / h) ** 2 for axis, c, h in zip((x, y, z), centre, half, strict=True)) > 1
    noise = np.random.default_rng(3).normal(0, 0.04, SHAPE)
    return (ACTIVE_PER_UM * (gaussian_filter(solid.astype(np.float32), 1.0) + noise)).astype(np.float32)
