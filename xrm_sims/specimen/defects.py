"""Closed pores and cracks inside particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Specimen
from xrm_sims.specimen.materials import Material

PORE = np.dtype([("centre_um", float, 3), ("diameter_um", float), ("phase", np.uint8), ("particle", np.int32)])
CRACK = np.dtype(
    [
        ("centre_um", float, 3),
        ("radii_um", float, 3),
        ("axes", float, (3, 3)),
        ("normal", float, 3),
        ("opening_um", float),
        ("length_um", float),
        ("phase", np.uint8),
        ("particle", np.int32),
    ]
)
_ATTEMPTS = 20  # positions tried for a defect
_SKIN = 0.93  # defects lie inside the particle scaled by this factor
_APART = 1.2  # least distance between pores, and to cracks, as a multiple of their size


def draw_pores(particles: NDArray[np.void], settings: Specimen, rng: np.random.Generator) -> NDArray[np.void]:
    """Draw closed pores (structured ``PORE``), each wholly inside one particle, in proportion to its volume."""
    pores: list[tuple[NDArray[np.float64], float, int, int]] = []
    for index, particle in enumerate(particles):
        nca = particle["phase"] == Material.NCA
        volume = 4 / 3 * np.pi * float(np.prod(particle["radii_um"]))
        wide = rng.poisson(volume * (settings.pores_per_um3_nca if nca else settings.pores_per_um3_lco))
        narrow = rng.poisson(volume * settings.nanopores_per_um3_nca) if nca else 0
        diameters = np.concatenate(
            [rng.uniform(*settings.pore_diameter_um, wide), rng.uniform(*settings.nanopore_diameter_um, narrow)]
        )
        centres, radii = np.empty((0, 3)), np.empty(0)
        for radius in 0.5 * np.sort(diameters)[::-1]:
            for centre in _inside(particle, radius, _ATTEMPTS, rng):
                if np.all(np.linalg.norm(centres - centre, axis=1) > _APART * (radii + radius)):
                    centres, radii = np.vstack([centres, centre]), np.append(radii, radius)
                    break
        pores += [
            (c, 2 * r, int(particle["phase"]), index)
            for c, r in zip(centres, radii, strict=True)
            if _in_pillar(c, settings)
        ]
    return np.array(pores, PORE)


def draw_cracks(
    particles: NDArray[np.void], pores: NDArray[np.void], settings: Specimen, rng: np.random.Generator
) -> NDArray[np.void]:
    """Draw cracks (structured ``CRACK``), each inside one particle and separate from its wide pores.

    In NCA the crack's plane contains the radius of the particle (radial, along grain boundaries); in LCO all cracks of
    a particle are parallel (its basal plane).
    """
    cracks = []
    for index, particle in enumerate(particles):
        nca = particle["phase"] == Material.NCA
        own = pores[(pores["particle"] == index) & (pores["diameter_um"] >= settings.pore_diameter_um[0])]
        for _ in range(rng.poisson(settings.cracks_per_nca if nca else settings.cracks_per_lco)):
            opening = rng.uniform(*settings.crack_opening_um)
            length = rng.uniform(*settings.crack_length_um)
            radii = 0.5 * np.array([length, length * rng.uniform(*settings.crack_width_to_length), opening])
            for centre in _inside(particle, 0.25 * length, _ATTEMPTS, rng):
                axes = _radial_axes(centre - particle["centre_um"], rng) if nca else particle["axes"]
                rim = _rim(centre, radii, axes)
                if not _in_pillar(centre, settings) or _depth_norm(particle, rim).max() > _SKIN:
                    continue
                offset = (own["centre_um"] - centre) @ axes / (radii + 0.5 * _APART * own["diameter_um"][:, None])
                if np.all((offset**2).sum(axis=1) > 1):
                    cracks.append((centre, radii, axes, axes[:, 2], opening, length, int(particle["phase"]), index))
                    break
    return np.array(cracks, CRACK)


def _in_pillar(centre: NDArray[np.float64], settings: Specimen) -> bool:
    within = np.hypot(centre[0], centre[1]) < 0.5 * settings.diameter_um
    return bool(within and settings.top_um - settings.detail_depth_um < centre[2] < settings.top_um)


def _inside(particle: np.void, radius: float, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw n uniform centres of spheres of ``radius`` inside the particle."""
    direction = rng.normal(size=(n, 3))
    direction *= (np.cbrt(rng.random(n)) / np.linalg.norm(direction, axis=1))[:, None]
    shrunk = np.maximum(_SKIN * particle["radii_um"] - radius, 0)
    return particle["centre_um"] + (direction * shrunk) @ particle["axes"].T


def _radial_axes(radial: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return as columns the radius, a random direction perpendicular to it, and the normal of their plane."""
    first = radial / np.linalg.norm(radial)
    across = np.cross(first, rng.normal(size=3))
    second = across / np.linalg.norm(across)
    return np.column_stack([first, second, np.cross(first, second)])


def _rim(centre: NDArray[np.float64], radii: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sixteen points on the edge of a flat ellipsoid."""
    phi = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return centre + np.column_stack([radii[0] * np.cos(phi), radii[1] * np.sin(phi)]) @ axes[:, :2].T


def _depth_norm(particle: np.void, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0 at the particle's centre and 1 on its surface."""
    return np.linalg.norm((points - particle["centre_um"]) @ particle["axes"] / particle["radii_um"], axis=1)
