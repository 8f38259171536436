"""What an EDS map says of the particles that a SIMS map shows: a second word on LCO and NCA, by other physics.

EDS counts X-rays of nickel and cobalt from about a micrometre under the surface, SIMS their ions from its topmost
nanometres. Where the two name a particle differently, one of them saw its neighbour, or what lies under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from xrm_sims.correlate.appearance import chain, pixel_to_scan
from xrm_sims.correlate.drawing import caption, image_in, new_figure, scale_bar
from xrm_sims.correlate.figures import field_extent, isotope
from xrm_sims.correlate.maps import slice_in_field
from xrm_sims.correlate.particles import Particle
from xrm_sims.correlate.register import Registration
from xrm_sims.correlate.segment import Volume
from xrm_sims.geometry import invert_affine
from xrm_sims.patterns import Raster

NAMING = ("Ni", "Co")
SHOWN_BESIDE = ("58Ni", "59Co")
NICKEL_OF_NCA = 0.84  # Ni / (Ni + Co) of LiNi0.80Co0.15Al0.05O2; LCO has none
LEAST_SIGMA = 3.0  # the share stands that many standard errors from the middle between the two, else it says nothing
INSIDE_UM = 0.4  # from a particle's rim: closer the electrons' X-rays come from its neighbour too


@dataclass(frozen=True)
class Verdict:
    """On one particle of the map. ``nickel_share`` of the nickel and cobalt counts with its standard error; ``says`` is
    LCO, NCA or nothing; ``agrees`` None where one of the two says nothing."""

    particle: int
    counts: float
    nickel_share: float
    sigma: float
    says: str
    agrees: bool | None

    def as_row(self) -> dict[str, Any]:
        """A line of a table; ``agrees`` in words, empty where one of the two says nothing."""
        return asdict(self) | {"agrees": {True: "yes", False: "no", None: ""}[self.agrees]}


def in_field(
    maps: ArrayLike, eds_raster: Raster, eds: Registration, sims: Registration, shape: Sequence[int]
) -> NDArray[np.float64]:
    """EDS counts (element, row, column) at the pixels of the SIMS raster; NaN where the EDS field ends."""
    inverse = invert_affine(chain(eds.scan_to_specimen, pixel_to_scan(eds_raster)))
    to_eds = chain(inverse, sims.sims_to_specimen)
    rows, columns = np.indices(tuple(shape))
    at = np.einsum("ij,jrc->irc", to_eds[:, :2], np.stack([columns, rows])) + to_eds[:, 2, None, None]
    images = np.asarray(maps, dtype=float)
    return np.stack(
        [ndimage.map_coordinates(image, at[::-1], order=1, mode="constant", cval=np.nan) for image in images]
    )


def verdicts(
    nickel: NDArray[np.float64],
    cobalt: NDArray[np.float64],
    labels: NDArray[np.int32],
    particles: Sequence[Particle],
    raster: Raster,
    eds_pixel_um: float,
) -> list[Verdict]:
    """What the counts (row, column) per EDS pixel, as :func:`in_field` gives them, say of each particle that is wide
    enough; ``raster`` is that of the labels."""
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


def elements_figure(
    volume: Volume,
    voxel_um: float,
    sims: tuple[NDArray[np.float64], Sequence[str], Raster, Registration],
    sem: NDArray[np.float64],
    eds: NDArray[np.float64],
    elements: Sequence[str],
) -> Figure:
    """The SIMS raster's field as CT, ions, electrons and X-rays see it, with the rims of CT's particles.

    ``sims`` : counts (channel, row, column), labels, raster, registration; ``sem`` (row, column) and ``eds`` (element,
    row, column) at the raster's pixels.
    """
    counts, labels, raster, registration = sims
    extent = field_extent(raster)
    slice_ = slice_in_field(volume, voxel_um, registration.exposed_z_um, registration.sims_to_specimen, raster.shape)
    rim = 0.5 * float(np.nanpercentile(slice_, 95))
    ions = [(f"SIMS {isotope(name)}", counts[list(labels).index(name)]) for name in SHOWN_BESIDE if name in labels]
    xrays = [(f"EDS {name}", image) for name, image in zip(elements, eds, strict=True)]
    rows = [("nanoCT", slice_), *ions], [("SE by electrons", sem), *xrays]
    width = max(map(len, rows))
    figure = new_figure(3.4 * width, 7.2)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for axes_of_row, panels in zip(figure.subplots(2, width, squeeze=False), rows, strict=True):
        for axes in axes_of_row[len(panels) :]:
            axes.set_axis_off()
        for axes, (name, image) in zip(axes_of_row, panels, strict=False):
            counted = name.startswith(("SIMS", "EDS"))
            limits = (0.0, float(np.nanpercentile(image, 99.7)))
            picture = image_in(axes, image, extent, "inferno" if counted else "gray", limits)
            axes.contour(np.nan_to_num(slice_), levels=[rim], extent=extent, colors="white", linewidths=0.5)
            caption(axes, next(letters), name)
            scale_bar(axes)
            if counted:
                bar = figure.colorbar(picture, ax=axes, orientation="horizontal", fraction=0.045, pad=0.02)
                bar.set_label("counts per pixel", fontsize=8)
                bar.ax.tick_params(labelsize=7)
    return figure
