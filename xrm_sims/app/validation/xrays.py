"""Rows of the X-ray side: counts, transmission, resolution, and what grey values tell apart."""

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
    Row,
    at_least,
    at_most,
    grouped_sigma,
    mean_with_sigma,
    overlap,
    share_with_sigma,
    two_means,
)
from xrm_sims.app.validation.truth import ACTIVE
from xrm_sims.data import documents, read_counts
from xrm_sims.geometry import rotation_z
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.specimen.tracing import ray_path_lengths
from xrm_sims.twin.spectrum import detection_efficiency, pixel_rate

OPEN_BEAM = 1453.0
VIEWS = 4  # of the radiographs
RAYS = 3000  # of each, traced anew
RIM_UM = 1.5  # that far below the pillar's top at least
GUARD_UM = 0.5  # to the next material: about the foot of the focal spot
VOXELS = 60_000  # looked at
LEAST_VOXELS = 30  # of a particle that is judged


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Projections (view, row, column) at a few angles, flats (n, row, column), and where things stood by the truth.

    ``good``: pixels (row, column) whose counts mean something, apart from those at the seams.
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
    """A scan of a few views with flats before and after it."""
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
    """Numbers of every event, by stream and key."""
    streams: dict[str, str] = {}
    tables: dict[str, dict[str, list[float]]] = {}
    for name, doc in documents(uid, data):
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name in ("event", "event_page"):
            table = tables.setdefault(streams[doc["descriptor"]], {})
            for key, value in doc["data"].items():
                table.setdefault(key, []).extend(np.atleast_1d(value))
    return {stream: {key: np.array(values) for key, values in table.items()} for stream, table in tables.items()}


def open_beam(lab: Laboratory) -> Row:
    """Mean counts of the flats."""
    shot = lab.once(radiographs)
    figure, _ = mean_with_sigma(shot.flats[:, shot.good])
    per_pixel = shot.flats.mean(axis=0)[shot.good]
    lab.picture("radiographs", pictures.radiograph_figure(shot.projections, shot.flats.mean(axis=0), lab.settings))
    return Row(
        "open_beam",
        "open beam, counts in 90 s",
        figure,
        float(per_pixel.std() / np.sqrt(len(per_pixel))),
        (0.9 * OPEN_BEAM, 1.1 * OPEN_BEAM),
        "counts",
        f"{len(shot.flats)} flats, {shot.good.mean():.1%} of the pixels (bad ones and those at seams left out), "
        f"beam at {shot.flat_current_na:.0f} nA; pixel to pixel {per_pixel.std() / figure:.1%}",
    )


def transmission(lab: Laboratory) -> Row:
    """Counts over flats against Beer-Lambert over the spectrum along the specimen's own paths, traced ray by ray."""
    shot = lab.once(radiographs)
    rng = np.random.default_rng(0)
    settings, s = lab.settings, lab.specimen.settings
    flat = shot.flats.mean(axis=0)
    rows, columns = np.nonzero(shot.good)
    y, z = (
        (n - 0.5 * (size - 1)) * settings.voxel_um for n, size in zip((columns, rows), flat.shape[::-1], strict=True)
    )
    inside = (np.abs(y) < 0.45 * s.diameter_um) & (z < s.top_um - RIM_UM)  # nothing from beside is blurred into it
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
    said = ", ".join(f"{100 * d:+.1f}" for d in deviation)
    return Row(
        "transmission",
        "transmission of the pillar against Beer-Lambert along the specimen's own paths",
        100 * float(deviation[worst]),
        100 * float(sigma[worst]),
        (-5.0, 5.0),
        "%",
        f"{RAYS} rays in each of {VIEWS} views, {RIM_UM:g} um and more below the pillar's top and within 0.45 of its "
        f"diameter from the axis; sums over rays, as the focal spot exchanges counts between neighbours; mean "
        f"transmission {means.mean():.3f}; deviations by view {said} %, the largest one counts",
    )


def _beer_lambert(
    lab: Laboratory, shot: Radiographs, view: int, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Transmission of rays to the middles of pixels: whole spectrum, exact paths, no focal spot."""
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


def edge(lab: Laboratory) -> Row:
    """ASTM E1441 on the FIB-cut side face, motion corrected from the data."""
    tomogram = lab.paper
    width = recon.edge_resolution(tomogram.raw, tomogram.voxel_um)  # total variation would sharpen a strong edge
    lab.picture("edge", pictures.edge_figure(tomogram, width))
    return Row(
        "edge",
        "expected resolution, FWHM of the line spread of the FIB-cut edge",
        1e3 * width.fwhm_um,
        1e3 * width.sigma_um,
        (224.0 - 23.0, 224.0 + 23.0),
        "nm",
        f"direct half maximum over {width.patches} pieces of edge; the paper's scan of {PAPER_VIEWS} views of 90 s, "
        f"{PAPER_ROWS} rows of 1280 single pixels, default motion corrected from the data; filtered back projection "
        f"that undoes the blur of its own interpolation; 10 % modulation at {width.mtf10_per_um:.2f} ± "
        f"{width.mtf10_sigma_per_um:.2f} per um",
    )


def labelled_voxels(lab: Laboratory, tomogram: Tomogram, guard_um: float = GUARD_UM) -> Voxels:
    """Random voxels of a tomogram whose surroundings are of one material, with the truth's labels."""
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
    """Materials with NCA's grain boundaries as NCA."""
    codes = lab.specimen.material_at(points)
    codes[codes == Material.NCA_BOUNDARY] = Material.NCA
    return codes


def _particles(lab: Laboratory, points: NDArray[np.float64], material: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number of the particle that holds each point, -1 outside of all; the later one where two overlap."""
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
    """Common area in % of the histograms of raw values, its standard uncertainty, and the area of regularised ones."""
    lco, nca = (voxels.material == m for m in (Material.LCO, Material.NCA))
    samples = voxels.raw[lco], voxels.raw[nca]
    sigma = grouped_sigma(overlap, *samples, voxels.particle[lco], voxels.particle[nca])
    return 100 * overlap(*samples), 100 * sigma, 100 * overlap(voxels.regularised[lco], voxels.regularised[nca])


def _grey_remark(tomogram: Tomogram, voxels: Voxels, regularised: float) -> str:
    lco, nca = voxels.of(Material.LCO), voxels.of(Material.NCA)
    return (
        f"{len(lco)} and {len(nca)} voxels of {1e3 * tomogram.voxel_um:.0f} nm, {GUARD_UM} um from other materials, by "
        f"filtered back projection of {TARGET_VIEWS} views, the same for both targets; means {lco.mean():.4f} and "
        f"{nca.mean():.4f} per um, noise {lco.std() / lco.mean():.0%}; regularised (default arguments) they overlap by "
        f"{regularised:.0f} %"
    )


def grey_tungsten(lab: Laboratory) -> Row:
    """Per-voxel grey values of both active materials."""
    voxels = lab.once(tungsten_voxels)
    figure, sigma, regularised = overlap_of(voxels)
    lab.picture("grey_values_tungsten", pictures.grey_figure(lab.tungsten, voxels, "W"))
    return Row(
        "grey_tungsten",
        "LCO and NCA cannot be distinguished in CT (W): overlap of their grey values voxel by voxel",
        figure,
        sigma,
        at_least(80.0),
        "%",
        _grey_remark(lab.tungsten, voxels, regularised),
    )


def grey_copper(lab: Laboratory) -> Row:
    """The same with copper, whose line lies between the K edges of cobalt and nickel."""
    voxels = lab.once(copper_voxels)
    figure, sigma, regularised = overlap_of(voxels)
    lab.picture("grey_values_copper", pictures.grey_figure(lab.copper, voxels, "Cu"))
    return Row(
        "grey_copper",
        "with a copper target they split: overlap of their grey values voxel by voxel",
        figure,
        sigma,
        at_most(30.0),
        "%",
        _grey_remark(lab.copper, voxels, regularised),
    )


def copper_particles(lab: Laboratory) -> Row:
    """Every particle named by its mean grey value and a threshold found without labels."""
    right, total = told_apart(lab.once(copper_voxels))
    other, of = told_apart(lab.once(tungsten_voxels))
    figure, sigma = share_with_sigma(right, total)
    means = lab.once(tungsten_voxels)
    lco, nca = (_particle_means(means)[k] for k in (Material.LCO, Material.NCA))
    return Row(
        "copper_particles",
        "particles named rightly from CT with a copper target alone",
        100 * figure,
        100 * sigma,
        at_least(95.0),
        "%",
        f"{right} of {total} particles by a threshold on their mean grey value; with tungsten {other} of {of}, "
        f"means {np.mean(lco):.4f} ± {np.std(lco):.4f} (LCO) and {np.mean(nca):.4f} ± {np.std(nca):.4f} per um "
        f"(NCA), overlap {overlap(lco, nca):.0%}",
    )


def _particle_means(voxels: Voxels) -> dict[Material, list[float]]:
    """Mean grey values of the particles with enough voxels, by phase."""
    means: dict[Material, list[float]] = {Material.LCO: [], Material.NCA: []}
    for phase, found in means.items():
        groups = voxels.groups(phase)
        for n in np.unique(groups[groups >= 0]):
            values = voxels.of(phase)[groups == n]
            if len(values) >= LEAST_VOXELS:
                found.append(float(values.mean()))
    return means


def told_apart(voxels: Voxels) -> tuple[int, int]:
    """How many of the particles lie on the right side of the threshold, LCO being the one that absorbs more."""
    means = _particle_means(voxels)
    lco, nca = np.array(means[Material.LCO]), np.array(means[Material.NCA])
    if not len(lco) or not len(nca):
        return 0, 0
    level = two_means(np.concatenate([lco, nca]))
    return int((lco > level).sum() + (nca <= level).sum()), len(lco) + len(nca)


def binder_in_ct(lab: Laboratory) -> Row:
    """Contrast of binder against pores over the noise of a voxel."""
    voxels = lab.once(tungsten_voxels)
    binder, pore = voxels.of(Material.BINDER), voxels.of(Material.VACUUM)
    noise = float(np.sqrt(0.5 * (binder.var() + pore.var())))
    contrast = float(binder.mean() - pore.mean())
    active = voxels.raw[np.isin(voxels.material, ACTIVE)]
    chance = np.sqrt(binder.var() / max(len(binder), 1) + pore.var() / max(len(pore), 1))
    smooth = [voxels.regularised[voxels.material == m] for m in (Material.BINDER, Material.VACUUM)]
    smooth_noise = float(np.sqrt(0.5 * sum(each.var() for each in smooth)))
    return Row(
        "binder_in_ct",
        "binder invisible in CT: its contrast against pores, in units of a voxel's noise",
        abs(contrast) / noise,
        float(chance) / noise,
        at_most(1.0),
        "",
        f"{len(binder)} voxels of {1e3 * lab.tungsten.voxel_um:.0f} nm in binder and {len(pore)} in pores, {GUARD_UM} "
        f"um from other materials, by filtered back projection of {TARGET_VIEWS} views; means {binder.mean():.5f} and "
        f"{pore.mean():.5f} per um, noise {noise:.5f}, active material {active.mean():.4f} ± {active.std():.4f}; "
        f"regularised {abs(smooth[0].mean() - smooth[1].mean()) / smooth_noise:.2f}",
    )
