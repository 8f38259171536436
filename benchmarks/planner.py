"""Predictions of the planner compared with measurements on the twin: noise, edge width, SIMS counts.

Plan and devices take four tomograms of one specimen with all columns and fewer rows: the paper's, with half the views,
with a third of the exposure, and with the highest current and pixels twice as wide. Each is corrected from its own data
and back projected twice, from even and odd views. The noise is half of the standard deviation of the difference, inside
0.9 of the pillar's radius, over the grey value of active material; the edge is that of the mean
(:func:`recon.edge_resolution`). Maps of a milled plane give counts per pixel well inside LCO and NCA.

python -m benchmarks.planner --seed 3                          # about a quarter of an hour on two idle cores
python -m benchmarks.planner --seed 3 --only "half the views"  # one protocol, no maps
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import bluesky.plan_stubs as bps
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.filters import threshold_otsu

import plans
import recon
from recon.frames.prepare import correct_beam_hardening
from xrm_sims.app.planner import Planner, Protocol, faster_protocols, paper_protocol
from xrm_sims.app.planner.noise import INSIDE
from xrm_sims.app.planner.protocols import probe_at
from xrm_sims.app.session.session import open_session
from xrm_sims.app.validation.fields import MARGIN_UM, mill, take
from xrm_sims.app.validation.rows import mean_with_sigma
from xrm_sims.data import open_catalog
from xrm_sims.geometry import ConeGeometry
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material

LIMIT = 0.2  # of the deviation of a ratio from 1
# Rows of the detector, and height of the pillar's top above their middle. Drift is up to 2 um: with 96 rows and the top
# at 1.5 um the edge of half the views was measured as 282 nm, with these as 199 +- 8 nm.
ROWS, TOP_UM = 160, 3.0
FIELD_UM, HEIGHT_UM = 42.0, 2.4  # side and height of the volume
LEAST_SLICES = 8  # in all views in spite of drift
PLANE_UM = 1.5  # depth of the maps below the pillar's top
LEAST_COUNTS = 1.0  # per pixel; channels with fewer are not compared
LEAST_PIXELS = 200


class Comparison(NamedTuple):
    protocol: str
    what: str
    predicted: float
    measured: float
    sigma: float  # standard error of the measurement; 0 if negligible
    unit: str

    @property
    def ratio(self) -> float:
        return self.measured / self.predicted

    @property
    def agrees(self) -> bool:
        return abs(self.ratio - 1) <= LIMIT

    def __str__(self) -> str:
        chance = f"± {self.sigma:.2g} " if self.sigma > 0 else ""
        return (
            f"{self.protocol:<25} {self.what:<18} predicted {self.predicted:8.4g} measured {self.measured:8.4g} "
            f"{chance}{self.unit:<6} ratio {self.ratio:.2f}{'' if self.agrees else '  off'}"
        )


def protocols(settings: Settings) -> list[Protocol]:
    """Return the paper's protocol and three others."""
    half, third, brighter, fewer = faster_protocols(settings)
    both = replace(fewer, name="highest current, binned", current_na=brighter.current_na, sims=brighter.sims)
    return [paper_protocol(settings), half, third, both]


def tomogram(protocol: Protocol, settings: Settings, seed: int, window: str) -> tuple[float, recon.EdgeResolution]:
    """Return the relative noise and the edge of a scan on the twin."""
    electron = {"current_na": protocol.current_na, "probe_nm": probe_at(settings, protocol.current_na)}
    settings = settings.model_copy(
        update={
            "electron": settings.electron.model_copy(update=electron),
            "detector": settings.detector.model_copy(update={"rows": ROWS}),
        }
    )
    scan = protocol.scan
    with tempfile.TemporaryDirectory() as folder, open_session(folder, seed=seed, settings=settings) as session:
        session.run(bps.mv(session.scope.stage.z_um, TOP_UM - settings.specimen.top_um))
        uid = session.run(
            plans.tomography(
                session.scope,
                num=scan.num,
                step_deg=scan.step_deg,
                exposure_s=scan.exposure_s,
                binning=scan.binning,
                target=scan.target,
            )
        )
        prepared = recon.prepare_run(open_catalog(session.data).v1[uid])
    prepared = replace(prepared, geometry=recon.correct_run(prepared))
    correct_beam_hardening(prepared)
    voxel_um = prepared.geometry.voxel_um
    side, slices = round(FIELD_UM / voxel_um), round(HEIGHT_UM / voxel_um)
    geometry = replace(prepared.geometry, volume_shape=(slices, side, side))
    assert isinstance(geometry, ConeGeometry)
    by_angle = np.argsort(geometry.angles_deg)
    even, odd = (
        recon.fdk(prepared.p[views], geometry.only(views), window=window, support=0.5 * FIELD_UM)
        for views in (np.sort(by_angle[::2]), np.sort(by_angle[1::2]))
    )
    mean = 0.5 * (even + odd)
    place_um = (np.arange(side) - 0.5 * (side - 1)) * voxel_um  # from the pillar's axis, the origin of the frame
    inside = np.hypot(place_um[:, None], place_um) < 0.5 * INSIDE * settings.specimen.diameter_um
    noise = 0.5 * float((even - odd)[seen_by_all(geometry)][:, inside].std())
    return noise / active_level(mean, voxel_um), recon.edge_resolution(mean, voxel_um)


def seen_by_all(geometry: ConeGeometry) -> slice:
    """Return the slices that all views contain in spite of drift; beyond the detector, its last rows are repeated."""
    assert geometry.view_shifts_px is not None
    near = 1 + 0.5 * geometry.voxel_um * geometry.volume_shape[1] / (1e3 * geometry.source_object_mm)
    half = (0.5 * geometry.detector_shape[0] - np.abs(geometry.view_shifts_px[:, 0]).max()) / near
    middle = geometry.volume_shape[0] // 2
    half = min(max(int(half), LEAST_SLICES // 2), middle)
    return slice(middle - half, middle + half)


def active_level(volume: NDArray[np.float32], voxel_um: float) -> float:
    """Return the grey value well inside active material: above Otsu's threshold after smoothing, without its rim."""
    smooth = gaussian_filter(volume, 0.1 / voxel_um)
    solid = binary_erosion(smooth > threshold_otsu(smooth), iterations=round(0.4 / voxel_um))
    return float(volume[solid].mean())


def maps(chosen: Sequence[Protocol], settings: Settings, seed: int) -> list[dict[str, dict[str, tuple[float, float]]]]:
    """Return counts per pixel with standard errors, by material and channel, from a freshly milled plane for each."""
    found = []
    for protocol in chosen:
        sims = protocol.sims
        ion = settings.ion.model_copy(update={"current_pa": sims.current_pa})
        own = settings.model_copy(update={"ion": ion})
        raster = sims.raster
        with tempfile.TemporaryDirectory() as folder, open_session(folder, seed=seed, settings=own) as session:
            size_um = raster.fov_um + MARGIN_UM
            mill(session, (size_um, size_um), (0.0, 0.0), settings.specimen.top_um - PLANE_UM)
            field = take(session, raster.fov_um, raster.dwell_ms, shape=raster.shape)
        counts: dict[str, dict[str, tuple[float, float]]] = {}
        for material in (Material.LCO, Material.NCA):
            where = field.well_inside(material)
            if where.sum() >= LEAST_PIXELS:
                counts[material.name] = {c: mean_with_sigma(field.channel(c)[where]) for c in field.labels}
        found.append(counts)
    return found


def run(
    seed: int, window: str = "sharp", only: str = "", report: Callable[[Comparison], object] = str
) -> list[Comparison]:
    """Return all comparisons, or those of the tomogram of one protocol; call ``report`` with each.

    Raises ValueError for an unknown protocol.
    """
    settings = Settings()
    planner = Planner(settings, window=window)
    done: list[Comparison] = []

    def compare(*entries: object) -> None:
        done.append(Comparison(*entries))  # type: ignore[arg-type]
        report(done[-1])

    chosen = [each for each in protocols(settings) if only in ("", each.name)]
    if not chosen:
        raise ValueError(f"only: needs one of {', '.join(each.name for each in protocols(settings))}, got {only!r}")
    for protocol, counts in zip(chosen, maps([] if only else chosen, settings, seed), strict=False):
        expected = planner.map(protocol.sims).counts
        for material, of in counts.items():
            for channel, measured in of.items():
                if (predicted := expected[material][channel]) >= LEAST_COUNTS:
                    compare(protocol.name, f"{channel} in {material}", predicted, *measured, "counts")
    for protocol in chosen:
        ahead = planner.tomogram(protocol)
        noise, edge = tomogram(protocol, settings, seed, window)
        compare(protocol.name, "noise of a voxel", ahead.noise, noise, 0.0, "")
        compare(protocol.name, "edge width", 1e3 * ahead.edge_um, 1e3 * edge.fwhm_um, 1e3 * edge.sigma_um, "nm")
    return done


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seed", type=int, default=3)
    cli.add_argument("--window", default="sharp", help="of the filtered back projection")
    cli.add_argument("--only", default="", help="name of a protocol: take only its tomogram")
    args = cli.parse_args()
    off = [each for each in run(args.seed, args.window, args.only, partial(print, flush=True)) if not each.agrees]
    print(f"{len(off)} of the figures are off by more than {LIMIT:.0%}")
    raise SystemExit(bool(off))
