"""Blind geometry correction: residuals of drift, run-out, axis offset, roll and magnification.

`python -m benchmarks.recon_alignment` prints residuals in pixels, without the parts that projections do not determine:
a constant in the rows, and in the columns the sinusoid of the specimen's position. All scans have the counting noise of
90 s (1,453 counts in the open beam) and no reference images. It takes minutes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

import recon
from benchmarks.recon_phantom import Phantom, exact_projections, pillar_with_spheres, random_spheres, scan_geometry
from recon.alignment.moments import sinusoids
from recon.kernels.support import resized, solver_geometry
from xrm_sims.geometry import ConeGeometry
from xrm_sims.settings import Detector, Settings, Specimen
from xrm_sims.specimen.pillar import CathodePillar
from xrm_sims.twin.motion import RunOut, SourceDrift
from xrm_sims.twin.xray import XrayModel

COUNTS = 1453.0
WIDTH, HEIGHT, VIEWS = 256, 64, 300
ROWS_BEYOND = 24  # margin of the twin's detector, for images that are displaced and rotated
ALL_ROWS = 256  # of the whole detector; fewer determine an edge to 5 % at best
PILLAR_UM = 20.5  # radius of the support
OFF_AXIS_UM = 1.0
NOISE_SEEDS = (1, 2, 3)  # one draw of the noise determines a ratio of edges only to 2 %
RIM = 0.31  # radius of every pillar here over the width of the detector

Array = NDArray[Any]


def moved(geometry: ConeGeometry, seed: int) -> ConeGeometry:
    """Add a smooth drift of 3 px, random run-out of 1 px, an axis offset of 5 px and a roll of 0.3 degrees."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, geometry.num_views)
    drift = 3.0 * np.column_stack([np.sin(0.5 * np.pi * t), t]) * rng.choice([-1.0, 1.0], 2)
    return replace(
        geometry,
        view_shifts_px=drift + rng.normal(0, 1, (geometry.num_views, 2)),
        axis_offset_um=5.0 * 1e3 * geometry.pixel_mm / geometry.magnification,
        detector_roll_deg=0.3,
    )


def counted(p: Array, seed: int) -> tuple[Array, Array]:
    """Return line integrals with counting noise, and their weights."""
    counts = np.random.default_rng(seed).poisson(COUNTS * np.exp(-p.astype(float)))
    return np.log(COUNTS / np.maximum(counts, 0.5)).astype(np.float32), np.minimum(
        counts / np.median(counts), 1.0
    ).astype(np.float32)


def phantom_scan(kind: str, seed: int) -> tuple[Array, ConeGeometry, ConeGeometry]:
    """Return line integrals, true and nominal geometry of spheres that absorb as much as 40 um of cathode."""
    phantom = {"pillar": pillar_with_spheres, "spheres": random_spheres}[kind](WIDTH, HEIGHT, seed)
    balls = phantom.balls.copy()
    factor = 160 / WIDTH
    balls[:, 4] *= factor
    radius, top, value = phantom.pillar
    nominal = scan_geometry(WIDTH, HEIGHT, VIEWS)
    true = moved(nominal, seed)
    return exact_projections(Phantom(balls, (radius, top, factor * value)), true), true, nominal


def twin(
    rows: int, columns: int, binning: int, views: int, seed: int, **specimen: Any
) -> tuple[XrayModel, ConeGeometry]:
    settings = Settings(detector=Detector(rows=rows * binning, columns=columns * binning))
    geometry = ConeGeometry(
        source_object_mm=settings.xray.source_object_mm,
        source_detector_mm=settings.xray.source_detector_mm,
        pixel_mm=settings.detector.pixel_mm * binning,
        detector_shape=(rows, columns),
        angles_deg=np.arange(views) * 360.0 / views,
        volume_shape=(rows, columns, columns),
        voxel_um=settings.voxel_um * binning,
    )
    return XrayModel(CathodePillar(seed, Specimen(**specimen)), settings), geometry


def twin_scan(seed: int) -> tuple[Array, ConeGeometry, ConeGeometry]:
    """Return a scan of the twin's pillar at binning 4, whose exact images are displaced and rotated in their plane."""
    rows, columns, binning = 64, 320, 4
    model, taller = twin(rows + ROWS_BEYOND, columns, binning, VIEWS, seed)
    nominal = replace(taller, detector_shape=(rows, columns), volume_shape=(rows, columns, columns))
    true = moved(nominal, seed)
    assert true.view_shifts_px is not None
    air = model.expected_counts(angle_deg=0.0, specimen_um=(0.0, 0.0, -60.0), binning=binning)
    roll = np.radians(true.detector_roll_deg)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    middle = (np.array([rows + ROWS_BEYOND, columns]) - 1) / 2
    p = np.empty((VIEWS, rows, columns), np.float32)
    for v, (angle, shift) in enumerate(zip(true.angles_deg, true.view_shifts_px, strict=True)):
        place = (0.0, true.axis_offset_um, 0.0)
        image = -np.log(model.expected_counts(angle_deg=angle, specimen_um=place, binning=binning) / air)
        here = (np.array([rows, columns]) - 1) / 2 + shift
        p[v] = affine_transform(image, turn, middle - turn @ here, (rows, columns), order=3, mode="nearest")
    return p, true, nominal


def drifting_scan(
    seed: int, rows: int = 64, columns: int = 1280, binning: int = 1, views: int = 300, still_um: float | None = None
) -> tuple[Array, ConeGeometry, ConeGeometry]:
    """Return a scan with the twin's default motion over 30 h, all columns of 50 nm, and the pillar's top in the rows.

    With ``still_um`` nothing moves, and the pillar is that far off the axis. Exactly on the axis all rays at its rim
    have the same position within a pixel, which sharpens the edge; no real specimen is centred like that.
    """
    model, nominal = twin(rows, columns, binning, views, seed, top_um=0.3 * rows * 0.05 * binning)
    motion = Settings().motion
    hours = np.linspace(0, 30 * 3600.0, views)
    source = np.zeros((views, 3))
    place = np.zeros((views, 3))
    if still_um is not None:
        angle = np.radians(nominal.angles_deg)
        place[:, 0], place[:, 1] = still_um * np.cos(angle), -still_um * np.sin(angle)
    else:
        drift, run_out = SourceDrift(motion, seed), RunOut(motion, seed)
        source = np.array([drift.at(t) for t in hours])
        place = np.array([run_out.at(angle) for angle in nominal.angles_deg])
    air = model.expected_counts(angle_deg=0.0, specimen_um=(0.0, 0.0, -60.0), binning=binning)
    spot = np.array([-1e3 * nominal.source_object_mm, 0.0, 0.0])
    p = np.stack(
        [
            -np.log(model.expected_counts(angle_deg=a, specimen_um=w, source_um=spot + s, binning=binning) / air)
            for a, w, s in zip(nominal.angles_deg, place, source, strict=True)
        ]
    )
    apart = place - source
    magnified = (1e3 * nominal.source_detector_mm - source[:, 0]) / (1e3 * nominal.source_object_mm + apart[:, 0])
    shifts = (source + apart * magnified[:, None])[:, [2, 1]] / (1e3 * nominal.pixel_mm)
    true = replace(nominal, view_shifts_px=shifts, view_scale=magnified / nominal.magnification)
    return p.astype(np.float32), true, nominal


def residual(found: ConeGeometry, true: ConeGeometry) -> dict[str, float]:
    """Return rms of rows and columns, axis and scale at the rim in px, roll in deg."""
    assert found.view_shifts_px is not None
    assert found.view_scale is not None
    assert true.view_shifts_px is not None
    pitch_um = 1e3 * true.pixel_mm / true.magnification
    rows, columns = (found.view_shifts_px - true.view_shifts_px).T
    columns = columns + (found.axis_offset_um - true.axis_offset_um) / pitch_um
    waves = sinusoids(true.angles_deg)
    fit, *_ = np.linalg.lstsq(waves, columns, rcond=None)
    scale = np.log(found.view_scale / (1.0 if true.view_scale is None else true.view_scale))
    # the specimen's position changes the magnification like the columns, a quarter turn later
    sod_px = 1e3 * true.source_object_mm / pitch_um
    angle = np.radians(true.angles_deg)
    scale = scale + (fit[2] * np.cos(angle) - fit[1] * np.sin(angle)) / sod_px
    return {
        "rows_px": float(rows.std()),
        "columns_px": float((columns - waves @ fit).std()),
        "axis_px": float(fit[0]),
        "roll_deg": found.detector_roll_deg - true.detector_roll_deg,
        "scale_rim_px": float(scale.std() * RIM * true.detector_shape[1]),
    }


def edge_width_nm(p: Array, weights: Array, geometry: ConeGeometry) -> float:
    """Return the edge width of the pillar reconstructed with the defaults."""
    extended = solver_geometry(geometry, PILLAR_UM, trim=False)
    volume = resized(recon.sart(p, extended, weights=weights, support=PILLAR_UM).volume, geometry.volume_shape)
    return 1e3 * recon.edge_resolution(np.ascontiguousarray(volume), geometry.voxel_um).fwhm_um


def edges(drifting: Array, nominal: ConeGeometry) -> dict[str, float]:
    """Return edge widths after the correction and without motion (off the axis and on it), averaged over draws of the
    noise, and the mean ratios of the first to the others with their standard errors."""
    widths: dict[str, list[float]] = {"drift": []}
    for seed in NOISE_SEEDS:
        p, weights = counted(drifting, seed)
        corrected = recon.correct_geometry(p, nominal, weights=weights)
        assert isinstance(corrected, ConeGeometry)
        widths["drift"].append(edge_width_nm(p, weights, corrected))
    for name, off_um in (("still", OFF_AXIS_UM), ("on_axis", 0.0)):
        exact, true, _ = drifting_scan(24, rows=ALL_ROWS, still_um=off_um)
        widths[name] = [edge_width_nm(*counted(exact, seed), true) for seed in NOISE_SEEDS]
    found = {f"{name}_edge_nm": float(np.mean(values)) for name, values in widths.items()}
    for name in ("still", "on_axis"):
        ratios = np.divide(widths["drift"], widths[name])
        found[f"edge_ratio_{name}"] = float(ratios.mean())
        found[f"edge_ratio_{name}_standard_error"] = float(ratios.std(ddof=1) / np.sqrt(len(ratios)))
    return found


def run() -> dict[str, float]:
    """Return residuals of all cases as ``case_quantity``, the largest shift as ``worst_px``, and for the default motion
    at 50 nm the edge widths after the correction and without motion."""
    cases = {
        "pillar": lambda: phantom_scan("pillar", 21),
        "spheres": lambda: phantom_scan("spheres", 22),
        "twin": lambda: twin_scan(23),
        "drift": lambda: drifting_scan(24, rows=ALL_ROWS),
    }
    found: dict[str, float] = {}
    for name, make in cases.items():
        exact, true, nominal = make()
        p, weights = counted(exact, 1)
        started = time.perf_counter()
        corrected = recon.correct_geometry(p, nominal, weights=weights)
        assert isinstance(corrected, ConeGeometry)
        found[f"{name}_seconds"] = time.perf_counter() - started
        found |= {f"{name}_{key}": value for key, value in residual(corrected, true).items()}
    found |= edges(exact, nominal)
    found["worst_px"] = max(found[f"{name}_{axis}_px"] for name in cases for axis in ("rows", "columns"))
    return found


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:24s} {value:8.3f}", flush=True)
