"""Rows about nanoCT: counts, transmission, resolution, and contrast of the materials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plans
import recon
from xrm_sims.app.validation import pictures
from xrm_sims.app.validation.laboratory import (
    PAPER_ROWS,
    PAPER_VIEWS,
    TARGET_VIEWS,
    Laboratory,
    Tomogram,
    truth_of,
)
from xrm_sims.app.validation.measured import Voxels
from xrm_sims.app.validation.rows import (
    Measured,
    at_least,
    at_most,
    grouped_sigma,
    mean_with_sigma,
    overlap,
    row,
    share_with_sigma,
    two_means,
)
from xrm_sims.app.validation.truth import ACTIVE
from xrm_sims.data import documents, read_counts
from xrm_sims.data.run_summary import RunSummary
from xrm_sims.geometry import rotation_z
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.specimen.tracing import ray_path_lengths
from xrm_sims.twin.spectrum import detection_efficiency, pixel_rate

OPEN_BEAM = 1453.0
VIEWS = 4  # of the radiographs
RAYS = 3000  # traced in each radiograph
RIM_UM = 1.5  # least distance of the rays below the pillar's top
GUARD_UM = 0.5  # least distance to another material, about the reach of the focal spot's tail
VOXELS = 60_000  # a third of those drawn at random: most are too close to another material
LEAST_VOXELS = 30  # in a particle that is classified


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Projections (view, row, column) at a few angles, flats (n, row, column), true positions of specimen and source.

    ``good``: pixels (row, column) that are neither bad nor at a seam.
    """

    projections: NDArray[np.float64]
    flats: NDArray[np.float64]
    good: NDArray[np.bool_]
    angles_deg: NDArray[np.float64]
    current_na: NDArray[np.float64]
    flat_current_na: float
    specimen_um: NDArray[np.float64]
    source_um: NDArray[np.float64]


def radiographs(lab: Laboratory) -> Radiographs:
    """Take a scan of a few views with flats before and after it."""
    with lab.session("radiographs") as session:
        scan: dict[str, Any] = {
            "num": VIEWS,
            "step_deg": 360.0 / VIEWS,
            "num_dark": 1,
            "num_flat": 3,
            "reference_every": 0,
        }
        uid = session.run(plans.tomography(session.scope, **scan))
        truth = truth_of(session)
        frames = {s: read_counts(uid, "widepix_image", session.data, s)[0].astype(float) for s in ("primary", "flat")}
        tables = _tables(uid, session.data)
    source_um = [truth.source_drift_um(t) for t in tables["primary"]["instrument_time_s"]]
    specimen_um = [truth.run_out_um(a) for a in tables["primary"]["rotation_angle_deg"]]
    flat = frames["flat"].mean(axis=0)
    chip = lab.settings.detector.chip_columns
    columns = np.arange(flat.shape[1]) % chip
    good = (np.abs(flat / np.median(flat) - 1) < 0.3) & (columns > 0) & (columns < chip - 1)
    return Radiographs(
        frames["primary"],
        frames["flat"],
        good,
        tables["primary"]["rotation_angle_deg"],
        tables["primary"]["beam_current_na"],
        float(tables["flat"]["beam_current_na"].mean()),
        np.array(specimen_um),
        np.array(source_um) - [1e3 * lab.settings.xray.source_object_mm, 0.0, 0.0],
    )


def _tables(uid: str, data: object) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the numbers of all events, by stream and key."""
    run = RunSummary(documents(uid, data))
    tables: dict[str, dict[str, list[float]]] = {}
    for event in run.events:
        table = tables.setdefault(run.stream_of(event), {})
        for key, value in event["data"].items():
            table.setdefault(key, []).extend(np.atleast_1d(value))
    return {stream: {key: np.array(values) for key, values in table.items()} for stream, table in tables.items()}


@row("open beam: counts in 90 s", (0.9 * OPEN_BEAM, 1.1 * OPEN_BEAM), "counts", seconds=15)
def open_beam(lab: Laboratory) -> Measured:
    shot = lab.once(radiographs)
    figure, _ = mean_with_sigma(shot.flats[:, shot.good])
    per_pixel = shot.flats.mean(axis=0)[shot.good]
    lab.picture("radiographs", pictures.radiograph_figure(shot.projections, shot.flats.mean(axis=0), lab.settings))
    return Measured(
        figure,
        float(per_pixel.std() / np.sqrt(len(per_pixel))),
        f"{len(shot.flats)} flats, {shot.good.mean():.1%} of the pixels (bad pixels and seams left out), "
        f"beam at {shot.flat_current_na:.0f} nA; pixel to pixel {per_pixel.std() / figure:.1%}",
    )


@row("transmission of the pillar: deviation from Beer-Lambert along the true paths", (-5.0, 5.0), "%", seconds=5)
def transmission(lab: Laboratory) -> Measured:
    """Compare counts over flats with Beer-Lambert over the spectrum, along paths traced ray by ray."""
    shot = lab.once(radiographs)
    rng = np.random.default_rng(0)
    settings, s = lab.settings, lab.specimen.settings
    flat = shot.flats.mean(axis=0)
    rows, columns = np.nonzero(shot.good)
    y, z = (
        (n - 0.5 * (size - 1)) * settings.voxel_um for n, size in zip((columns, rows), flat.shape[::-1], strict=True)
    )
    inside = (np.abs(y) < 0.45 * s.diameter_um) & (z < s.top_um - RIM_UM)  # clear of the open beam's blur
    rows, columns = rows[inside], columns[inside]
    deviation, sigma, means = np.empty(VIEWS), np.empty(VIEWS), np.empty(VIEWS)
    for view in range(VIEWS):
        chosen = rng.choice(len(rows), RAYS, replace=False)
        r, c = rows[chosen], columns[chosen]
        seen = shot.projections[view, r, c] / flat[r, c] * shot.flat_current_na / shot.current_na[view]
        wanted = _beer_lambert(lab, shot, view, r, c)
        means[view] = wanted.mean()
        deviation[view] = seen.sum() / wanted.sum() - 1
        sigma[view] = (seen - wanted).std() / np.sqrt(RAYS) / means[view]
    worst = int(np.abs(deviation).argmax())
    deviations = ", ".join(f"{100 * d:+.1f}" for d in deviation)
    return Measured(
        100 * float(deviation[worst]),
        100 * float(sigma[worst]),
        f"{RAYS} rays in each of {VIEWS} views, at least {RIM_UM:g} um below the pillar's top and within 0.45 of its "
        f"diameter from the axis; summed over rays, because the focal spot moves counts between neighbours; mean "
        f"transmission {means.mean():.3f}; deviations by view {deviations} %, of which the largest is given",
    )


def _beer_lambert(
    lab: Laboratory, shot: Radiographs, view: int, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the transmission of rays to pixel centres: whole spectrum, exact paths, point source."""
    settings: Settings = lab.settings
    detector, xray = settings.detector, settings.xray
    energies, rate = pixel_rate(settings, "W", settings.electron.voltage_kv, 1.0)
    weight = rate * detection_efficiency(energies, detector, detector.threshold_kev)
    mu = np.array([attenuation_per_um(m, energies, lab.specimen.settings) for m in Material])
    pitch_um = 1e3 * detector.pixel_mm
    plane_um = 1e3 * (xray.source_detector_mm - xray.source_object_mm)
    y = (columns - 0.5 * (detector.columns - 1)) * pitch_um
    z = (rows - 0.5 * (detector.rows - 1)) * pitch_um
    turn = rotation_z(-float(shot.angles_deg[view]))
    source = turn @ (shot.source_um[view] - shot.specimen_um[view])
    rays = np.column_stack([np.full(len(y), plane_um), y, z]) - shot.source_um[view]
    rays = np.ascontiguousarray(rays / np.linalg.norm(rays, axis=1, keepdims=True) @ turn.T)
    paths = np.array([ray_path_lengths(lab.specimen.solids, source, ray, len(Material)) for ray in rays])
    return np.asarray(np.exp(-paths @ mu) @ weight / weight.sum())


@row("resolution: FWHM of the line spread of the FIB-cut edge", (224.0 - 23.0, 224.0 + 23.0), "nm", seconds=230)
def edge(lab: Laboratory) -> Measured:
    """Measure the edge of the FIB-cut side face by ASTM E1441, after motion correction from the data."""
    tomogram = lab.paper
    width = recon.edge_resolution(tomogram.raw, tomogram.voxel_um)  # total variation would sharpen a strong edge
    lab.picture("edge", pictures.edge_figure(tomogram, width))
    return Measured(
        1e3 * width.fwhm_um,
        1e3 * width.sigma_um,
        f"direct half maximum over {width.patches} pieces of edge; the paper's scan of {PAPER_VIEWS} views of 90 s, "
        f"{PAPER_ROWS} rows of 1280 single pixels, default motion corrected from the data; filtered back projection "
        f"that compensates the blur of its interpolation; 10 % modulation at {width.mtf10_per_um:.2f} ± "
        f"{width.mtf10_sigma_per_um:.2f} per um",
    )


def labelled_voxels(lab: Laboratory, tomogram: Tomogram, guard_um: float = GUARD_UM) -> Voxels:
    """Return random voxels of a tomogram whose surroundings are of one material, with their true labels."""
    rng = np.random.default_rng(0)
    s = lab.specimen.settings
    n = 3 * VOXELS
    radius = 0.45 * s.diameter_um * np.sqrt(rng.random(n))
    phi = 2 * np.pi * rng.random(n)
    low, high = tomogram.z_um[0] + guard_um, min(tomogram.z_um[-1], s.top_um) - guard_um
    points = np.column_stack([radius * np.cos(phi), radius * np.sin(phi), rng.uniform(low, high, n)])
    material = _plain(lab, points)
    clean = np.ones(n, bool)
    around = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    for step in around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1):
        left = np.flatnonzero(clean)
        clean[left] = _plain(lab, points[left] + guard_um * step) == material[left]
    points, material = points[clean], material[clean]
    raw, regularised = (tomogram.at(points, volume) for volume in (tomogram.raw, tomogram.volume))
    return Voxels(raw, regularised, material, _particles(lab, points, material))


def _plain(lab: Laboratory, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the materials at points, grain boundaries of NCA as NCA."""
    codes = lab.specimen.material_at(points)
    codes[codes == Material.NCA_BOUNDARY] = Material.NCA
    return codes


def _particles(lab: Laboratory, points: NDArray[np.float64], material: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of the particle at each point: -1 outside, the later one of two that overlap."""
    which = np.full(len(points), -1)
    for n, particle in enumerate(lab.specimen.particles):
        near = np.flatnonzero(
            (np.abs(points - particle["centre_um"]).max(axis=1) <= particle["radii_um"].max())
            & (material == particle["phase"])
        )
        local = (points[near] - particle["centre_um"]) @ particle["axes"] / particle["radii_um"]
        which[near[(local**2).sum(axis=1) <= 1]] = n
    return which


def tungsten_voxels(lab: Laboratory) -> Voxels:
    return labelled_voxels(lab, lab.tungsten)


def copper_voxels(lab: Laboratory) -> Voxels:
    return labelled_voxels(lab, lab.copper)


def overlap_of(voxels: Voxels) -> tuple[float, float, float]:
    """Return the overlap in % of the raw grey values' histograms, its uncertainty, and that of regularised values."""
    lco, nca = (voxels.material == m for m in (Material.LCO, Material.NCA))
    samples = voxels.raw[lco], voxels.raw[nca]
    sigma = grouped_sigma(overlap, *samples, voxels.particle[lco], voxels.particle[nca])
    return 100 * overlap(*samples), 100 * sigma, 100 * overlap(voxels.regularised[lco], voxels.regularised[nca])


def _grey_values(lab: Laboratory, target: str, tomogram: Tomogram, voxels: Voxels) -> Measured:
    """Measure and draw the overlap of the grey values of LCO and NCA."""
    figure, sigma, regularised = overlap_of(voxels)
    material = {"W": "tungsten", "Cu": "copper"}[target]
    lab.picture(f"grey_values_{material}", pictures.grey_figure(tomogram, voxels, target))
    lco, nca = voxels.of(Material.LCO), voxels.of(Material.NCA)
    return Measured(
        figure,
        sigma,
        f"{len(lco)} and {len(nca)} voxels of {1e3 * tomogram.voxel_um:.0f} nm, {GUARD_UM} um from other materials, by "
        f"filtered back projection of {TARGET_VIEWS} views, the same for both targets; means {lco.mean():.4f} and "
        f"{nca.mean():.4f} per um, noise {lco.std() / lco.mean():.0%}; regularised (default arguments) the overlap is "
        f"{regularised:.0f} %",
    )


@row("LCO and NCA not distinguished in CT with tungsten: overlap of their grey values", at_least(80.0), "%", seconds=60)
def grey_tungsten(lab: Laboratory) -> Measured:
    return _grey_values(lab, "W", lab.tungsten, lab.once(tungsten_voxels))


@row("binder invisible in CT: contrast to pores over the noise of a voxel", at_most(1.0))
def binder_in_ct(lab: Laboratory) -> Measured:
    voxels = lab.once(tungsten_voxels)
    binder, pore = voxels.of(Material.BINDER), voxels.of(Material.VACUUM)
    noise = float(np.sqrt(0.5 * (binder.var() + pore.var())))
    contrast = float(binder.mean() - pore.mean())
    active = voxels.raw[np.isin(voxels.material, ACTIVE)]
    error = np.sqrt(binder.var() / max(len(binder), 1) + pore.var() / max(len(pore), 1))
    smooth = [voxels.regularised[voxels.material == m] for m in (Material.BINDER, Material.VACUUM)]
    smooth_noise = float(np.sqrt(0.5 * sum(each.var() for each in smooth)))
    return Measured(
        abs(contrast) / noise,
        float(error) / noise,
        f"{len(binder)} voxels of {1e3 * lab.tungsten.voxel_um:.0f} nm in binder and {len(pore)} in pores, {GUARD_UM} "
        f"um from other materials, by filtered back projection of {TARGET_VIEWS} views; means {binder.mean():.5f} and "
        f"{pore.mean():.5f} per um, noise {noise:.5f}, active material {active.mean():.4f} ± {active.std():.4f}; "
        f"regularised {abs(smooth[0].mean() - smooth[1].mean()) / smooth_noise:.2f}",
    )


@row("LCO and NCA separate in CT with copper: overlap of their grey values", at_most(30.0), "%", seconds=60)
def grey_copper(lab: Laboratory) -> Measured:
    """The K line of copper lies between the K edges of cobalt and nickel."""
    return _grey_values(lab, "Cu", lab.copper, lab.once(copper_voxels))


@row("particles classified rightly from CT with a copper target alone", at_least(95.0), "%")
def copper_particles(lab: Laboratory) -> Measured:
    """Classify every particle by its mean grey value, with a threshold found without labels."""
    right, total = classified_rightly(lab.once(copper_voxels))
    other, of = classified_rightly(lab.once(tungsten_voxels))
    figure, sigma = share_with_sigma(right, total)
    means = lab.once(tungsten_voxels)
    lco, nca = (_particle_means(means)[k] for k in (Material.LCO, Material.NCA))
    return Measured(
        100 * figure,
        100 * sigma,
        f"{right} of {total} particles by a threshold on their mean grey value; with tungsten {other} of {of}, "
        f"means {np.mean(lco):.4f} ± {np.std(lco):.4f} (LCO) and {np.mean(nca):.4f} ± {np.std(nca):.4f} per um "
        f"(NCA), overlap {overlap(lco, nca):.0%}",
    )


def _particle_means(voxels: Voxels) -> dict[Material, list[float]]:
    """Return the mean grey values of the particles with enough voxels, by phase."""
    means: dict[Material, list[float]] = {Material.LCO: [], Material.NCA: []}
    for phase, found in means.items():
        groups = voxels.groups(phase)
        for n in np.unique(groups[groups >= 0]):
            values = voxels.of(phase)[groups == n]
            if len(values) >= LEAST_VOXELS:
                found.append(float(values.mean()))
    return means


def classified_rightly(voxels: Voxels) -> tuple[int, int]:
    """Return how many particles lie on the right side of the threshold (LCO absorbs more), and how many there are."""
    means = _particle_means(voxels)
    lco, nca = np.array(means[Material.LCO]), np.array(means[Material.NCA])
    if not len(lco) or not len(nca):
        return 0, 0
    level = two_means(np.concatenate([lco, nca]))
    return int((lco > level).sum() + (nca <= level).sum()), len(lco) + len(nca)
