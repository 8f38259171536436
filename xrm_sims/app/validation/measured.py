"""Data that both the rows and the figures of the validation use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.validation.fields import Field, well_inside
from xrm_sims.specimen.materials import Material


@dataclass(frozen=True, eq=False)
class Image:
    """Counts ([element,] row, column), true material and grain (row, column), and where the surface is flat."""

    counts: NDArray[np.float64]
    material: NDArray[np.uint8]
    flat: NDArray[np.bool_]
    grain: NDArray[np.uint32]
    pixel_um: float

    def well_inside(self, materials: tuple[Material, ...], guard_um: float) -> NDArray[np.bool_]:
        """Return the flat pixels (row, column) whose surroundings are all of these materials."""
        return well_inside(np.isin(self.material, materials) & self.flat, guard_um / self.pixel_um)


@dataclass(frozen=True, eq=False)
class MappedPore:
    """The lithium map of the plane through a pore's middle, and the tomogram on the same pixels (row, column).

    shift_um : displacement (x, y) of the map's hole from the tomogram's; correlation : of both after that shift;
    left : lithium in the middle of the hole over that around it.
    """

    field: Field
    slice_per_um: NDArray[np.float64]
    centre_um: NDArray[np.float64]
    diameter_um: float
    shift_um: NDArray[np.float64]
    correlation: float
    left: float


@dataclass(frozen=True, eq=False)
class Voxels:
    """Grey values of voxels well inside one material, and the particle of each (-1 for none).

    raw : by filtered back projection; regularised : with the default arguments.
    """

    raw: NDArray[np.float64]
    regularised: NDArray[np.float64]
    material: NDArray[np.uint8]
    particle: NDArray[np.int64]

    def of(self, material: Material) -> NDArray[np.float64]:
        return np.asarray(self.raw[self.material == material])

    def groups(self, material: Material) -> NDArray[np.int64]:
        return np.asarray(self.particle[self.material == material])
