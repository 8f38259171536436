"""Checkpoints of a long reconstruction: the volume after each sweep, in one file that is replaced atomically."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xrm_sims.atomic_write import sync
from xrm_sims.geometry import Geometry

PLANES = 32  # of constant x, written and read at a time
SAMPLED_VIEWS = 16


class Checkpoint:
    """The file that holds the volume of the last finished sweep.

    Parameters
    ----------
    path : HDF5 file; its folder must exist.
    about : :func:`fingerprint` of data and options; a file with another one is not used.
    """

    def __init__(self, path: str | os.PathLike[str], about: str) -> None:
        self.path = Path(path)
        self.about = about
        if not self.path.parent.is_dir():
            raise ValueError(f"checkpoint: folder {self.path.parent} is not there, needs a folder to write to")

    def load(self, volume: NDArray[np.float32]) -> list[float]:
        """Fill ``volume`` (z, y, x) and return the residuals of its sweeps; none where there is no usable checkpoint.

        Warns of a file that is unreadable or belongs to other data or options; the next save replaces it.
        """
        if not self.path.exists():
            return []
        try:
            with h5py.File(self.path, "r") as file:
                if file.attrs["about"] != self.about:
                    warnings.warn(
                        f"checkpoint {self.path}: made from other data or options; starting anew", stacklevel=3
                    )
                    return []
                columns = file["volume"]
                for first in range(0, columns.shape[0], PLANES):
                    volume.T[first : first + PLANES] = columns[first : first + PLANES]
                return [float(residual) for residual in file.attrs["residuals"]]
        except (OSError, KeyError) as error:
            warnings.warn(f"checkpoint {self.path}: cannot be read ({error}); starting anew", stacklevel=3)
            return []

    def save(self, volume: NDArray[np.float32], residuals: list[float]) -> None:
        """Save ``volume`` (z, y, x) in the memory order of the solver, by planes of constant x."""
        beside = self.path.with_name(self.path.name + ".part")
        with h5py.File(beside, "w") as file:
            file.attrs["about"], file.attrs["residuals"] = self.about, residuals
            columns = file.create_dataset("volume", volume.T.shape, np.float32)
            columns.attrs["axes"], columns.attrs["units"] = "x y z", "1/um"
            for first in range(0, len(columns), PLANES):
                columns[first : first + PLANES] = volume.T[first : first + PLANES]
        sync(beside)
        beside.replace(self.path)
        sync(self.path.parent)

    def remove(self) -> None:
        """Delete the file, when the reconstruction is finished."""
        self.path.unlink(missing_ok=True)


def fingerprint(p: NDArray[np.float32], geometry: Geometry, inside: NDArray[np.bool_], **options: Any) -> str:
    """Return a digest of geometry, support (y, x), options and a sample of line integrals (angle, row, column)."""
    digest = hashlib.sha256(json.dumps([geometry.as_dict(), options], sort_keys=True).encode())
    digest.update(np.packbits(inside).data)
    for view in p[:: max(1, len(p) // SAMPLED_VIEWS)]:
        digest.update(np.ascontiguousarray(view).data)
    return digest.hexdigest()
