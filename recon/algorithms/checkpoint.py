"""A long reconstruction outlives its process: the volume after each sweep, in one file that is never half-written."""

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
    about : what the reconstruction rests on (:func:`fingerprint`); a file made from something else is not used.
    """

    def __init__(self, path: str | os.PathLike[str], about: str) -> None:
        self.path = Path(path)
        self.about = about
        if not self.path.parent.is_dir():
            raise ValueError(f"checkpoint: folder {self.path.parent} is not there, needs a folder to write to")

    def load(self, volume: NDArray[np.float32]) -> list[float]:
        """Fill ``volume`` (z, y, x) and return the residuals of the sweeps that made it; empty: start anew.

        A file that is unreadable or belongs to other data or options is named in a warning and left for the next save.
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
        """Keep ``volume`` (z, y, x), by planes of constant x as the solver has them."""
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
        """The reconstruction is finished: the file goes."""
        self.path.unlink(missing_ok=True)


def fingerprint(p: NDArray[np.float32], geometry: Geometry, inside: NDArray[np.bool_], **options: Any) -> str:
    """Digest of geometry, support (y, x), options and a sample of the line integrals (angle, row, column)."""
    digest = hashlib.sha256(json.dumps([geometry.as_dict(), options], sort_keys=True).encode())
    digest.update(np.packbits(inside).data)
    for view in p[:: max(1, len(p) // SAMPLED_VIEWS)]:
        digest.update(np.ascontiguousarray(view).data)
    return digest.hexdigest()
