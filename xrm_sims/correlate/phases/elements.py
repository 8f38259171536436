"""Classify the particles of a SIMS map as LCO or NCA by an EDS map, independently of the ions.

EDS counts X-rays of nickel and cobalt from about a micrometre of depth, SIMS counts ions from the topmost nanometres.
If they disagree on a particle, one of them shows its neighbour or the material below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from xrm_sims.correlate.phases.particles import Particle
from xrm_sims.correlate.registration.active_material import chain, pixel_to_scan
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.geometry import invert_affine
from xrm_sims.patterns import Raster

NAMING = ("Ni", "Co")
NICKEL_OF_NCA = 0.84  # Ni / (Ni + Co) of LiNi0.80Co0.15Al0.05O2; LCO has none
LEAST_SIGMA = 3.0  # distance of the share from the middle between LCO and NCA, in standard errors; closer is undecided
INSIDE_UM = 0.4  # from a particle's rim: closer, X-rays come from its neighbour too


@dataclass(frozen=True)
class Verdict:
    """EDS of one particle: nickel's share of nickel and cobalt counts with its standard error, and the comparison.

    says : LCO, NCA, or empty if undecided. agrees : with SIMS; None if one of the two is undecided.
    """

    particle: int
    counts: float
    nickel_share: float
    sigma: float
    says: str
    agrees: bool | None

    def as_row(self) -> dict[str, Any]:
        """Return a row of a table; ``agrees`` is yes, no or empty."""
        return asdict(self) | {"agrees": {True: "yes", False: "no", None: ""}[self.agrees]}


def eds_on_raster(
    maps: ArrayLike, eds_raster: Raster, eds: Registration, sims: Registration, shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return EDS counts (element, row, column) at the pixels of the SIMS raster; NaN outside the EDS field."""
    inverse = invert_affine(chain(eds.scan_to_specimen, pixel_to_scan(eds_raster)))
    to_eds = chain(inverse, sims.sims_to_specimen)
    rows, columns = np.indices(tuple(shape))
    at = np.einsum("ij,jrc->irc", to_eds[:, :2], np.stack([columns, rows])) + to_eds[:, 2, None, None]
    images = np.asarray(maps, dtype=float)
    return np.stack(
        [ndimage.map_coordinates(image, at[::-1], order=1, mode="constant", cval=np.nan) for image in images]
    )


def eds_verdicts(
    nickel: NDArray[np.float64],
    cobalt: NDArray[np.float64],
    labels: NDArray[np.int32],
    particles: Sequence[Particle],
    raster: Raster,
    eds_pixel_um: float,
) -> list[Verdict]:
    """Classify each particle that is wide enough by counts (row, column) per EDS pixel from :func:`eds_on_raster`.

    ``raster`` is that of the labels.
    """
    share_of_pixel = (raster.pixel_um / eds_pixel_um) ** 2
    found = []
    for particle in particles:
        own = labels == particle.number
        inside = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1] * raster.pixel_um > INSIDE_UM
        inside &= np.isfinite(nickel) & np.isfinite(cobalt)
        ni, co = (share_of_pixel * float(image[inside].sum()) for image in (nickel, cobalt))
        if ni + co < 1.0:
            continue
        share = ni / (ni + co)
        sigma = float(np.sqrt(max(share * (1 - share), 1 / (ni + co)) / (ni + co)))
        off = (share - 0.5 * NICKEL_OF_NCA) / sigma
        says = "" if abs(off) < LEAST_SIGMA else "NCA" if off > 0 else "LCO"
        named = _name(particle)
        found.append(Verdict(particle.number, ni + co, share, sigma, says, says == named if says and named else None))
    return found


def _name(particle: Particle, decided: float = 0.95) -> str:
    return "LCO" if particle.p_lco >= decided else "NCA" if particle.p_nca >= decided else ""
