"""Effect of regularisation on the twin's pillar at 1,453 counts a pixel, compared with the twin's truth.

python -m benchmarks.recon_regularised --seed 5
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import recon
from benchmarks.recon_phantom import Images
from recon.frames.flat_field import relative_weights
from recon.quality.edge_resolution import edge_resolution
from xrm_sims.geometry import ConeGeometry, Geometry
from xrm_sims.settings import Detector, Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.xray import XrayModel

ROWS, VIEWS, BINNING = 192, 600, 2  # physical rows; fewer determine an edge to 5 % at best
EXPOSURE_S = 90.0  # of the unbinned pixel; binned ones need less time for as many counts
SUPPORT_UM = 20.5
SHARP_SWEEPS = 5
FINE = 2  # points of the truth along each edge of a voxel


@dataclass(frozen=True)
class PillarScan:
    """A scan without motion: line integrals (corrected for beam hardening), weights, truth (z, y, x), the truth
    blurred by the focal spot (``seen``), and the focal spot."""

    p: Images
    weights: Images
    geometry: ConeGeometry
    truth: Images
    seen: Images
    spot: recon.FocalSpot


def pillar_scan(seed: int, *, views: int = VIEWS, rows: int = ROWS, binning: int = BINNING) -> PillarScan:
    """Return some rows of the twin's pillar; the Poisson noise is that of a single pixel in ``EXPOSURE_S``."""
    settings = Settings(detector=Detector(rows=rows))
    specimen = CathodePillar(seed)
    model = XrayModel(specimen, settings)
    angles = np.arange(views) * 360.0 / views
    beam: dict[str, Any] = {"exposure_s": EXPOSURE_S / binning**2, "binning": binning}
    mean = np.stack([model.expected_counts(angle_deg=float(a), **beam) for a in angles])
    flat = model.expected_counts(angle_deg=0.0, specimen_um=(0.0, 0.0, -400.0), **beam)
    counts = np.maximum(np.random.default_rng(seed).poisson(mean), 0.5).astype(np.float32)
    xray, pixel_mm = settings.xray, settings.detector.pixel_mm * binning
    voxel_um = 1e3 * pixel_mm / settings.magnification
    _, rows, columns = mean.shape
    geometry = ConeGeometry(
        source_object_mm=xray.source_object_mm,
        source_detector_mm=xray.source_detector_mm,
        pixel_mm=pixel_mm,
        detector_shape=(rows, columns),
        angles_deg=angles,
        volume_shape=(rows, columns, columns),
        voxel_um=voxel_um,
    )
    solid = share_of_active(specimen, geometry)
    spot = recon.FocalSpot.from_dict(settings.source.focal_spot)
    seen = np.zeros_like(solid)
    for share, sigma_um in zip(spot.shares, spot.sigma_um, strict=True):
        sigma = sigma_um / voxel_um
        seen += np.float32(share) * gaussian_filter(solid, (sigma * spot.vertical_stretch, sigma, sigma))
    p, weights = np.log(flat / counts), relative_weights(counts)
    recon.beam_hardening_correction(p, geometry, weights=weights).correct(p, weights)
    return PillarScan(p, weights, geometry, solid, seen, spot)


def share_of_active(specimen: CathodePillar, geometry: Geometry) -> Images:
    """Return the share of active material, which absorbs almost alone and uniformly, in each voxel (z, y, x)."""
    z, y, x = ((np.arange(n) - (n - 1) / 2) * geometry.voxel_um for n in geometry.volume_shape)
    inside = np.hypot(y[:, None], x) < SUPPORT_UM
    row, column = np.nonzero(inside)
    parts = ((np.arange(FINE) + 0.5) / FINE - 0.5) * geometry.voxel_um
    share = np.zeros(geometry.volume_shape, np.float32)
    active = (Material.LCO, Material.NCA, Material.NCA_BOUNDARY)
    for k, height in enumerate(z):
        for dz, dy, dx in np.stack(np.meshgrid(parts, parts, parts), axis=-1).reshape(-1, 3):
            points = np.column_stack([x[column] + dx, y[row] + dy, np.full(len(row), height + dz)])
            share[k][inside] += np.isin(specimen.material_at(points), active) / FINE**3
    return share


def error(volume: Images, truth: Images) -> float:
    """Return the RMS difference in the pillar without its outermost slices, in units of the fitted attenuation."""
    cut = max(len(truth) // 8, 2)
    n = truth.shape[1]
    x = np.arange(n) - (n - 1) / 2
    disk = np.hypot(x[:, None], x) < 0.33 * n
    a, b = (v[cut : len(v) - cut][:, disk].astype(float) for v in (volume, truth))
    return float(np.sqrt(((a / ((a * b).sum() / (b * b).sum()) - b) ** 2).mean()))


def run(seed: int = 5, **options: Any) -> dict[str, float]:
    """Return errors and edge widths in um: default, plain SART (best of one to three sweeps), default after
    ``recon.sharpen`` (``sharp_``).

    ``rmse``: compared with the sharp truth; ``seen_rmse``: compared with the truth blurred by the focal spot.
    """
    scan = pillar_scan(seed, **options)

    def measured(name: str, volume: Images) -> dict[str, float]:
        try:
            edge = edge_resolution(volume, scan.geometry.voxel_um).fwhm_um
        except ValueError:
            edge = float("nan")
        return {
            f"{name}rmse": error(volume, scan.truth),
            f"{name}seen_rmse": error(volume, scan.seen),
            f"{name}edge_um": edge,
        }

    common: dict[str, Any] = {"weights": scan.weights, "support": SUPPORT_UM}
    plain = [measured("plain_", recon.sart(scan.p, scan.geometry, tv=0, sweeps=n, **common).volume) for n in (1, 2, 3)]
    result = measured("", recon.sart(scan.p, scan.geometry, **common).volume)
    recon.sharpen(scan.p, scan.geometry, scan.spot)
    sharp = measured("sharp_", recon.sart(scan.p, scan.geometry, sweeps=SHARP_SWEEPS, **common).volume)
    return result | sharp | min(plain, key=lambda found: found["plain_seen_rmse"])


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seed", type=int, default=5)
    cli.add_argument("--views", type=int, default=VIEWS)
    cli.add_argument("--binning", type=int, default=BINNING)
    args = cli.parse_args()
    for name, value in run(args.seed, views=args.views, binning=args.binning).items():
        print(f"{name:18} {value:.5f}")
