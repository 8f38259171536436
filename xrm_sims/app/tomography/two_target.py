"""The command two-target: compute a 3D map of LCO and NCA from two tomograms with different X-ray targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import recon
from recon.kernels.progress import Progress
from xrm_sims.app.common.csv_table import write_csv
from xrm_sims.app.common.progress import stages
from xrm_sims.app.tomography.selection import tomography_parts
from xrm_sims.app.tomography.tomogram import Tomogram, kept_tomogram, reconstruct_tomogram
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.phases.two_target import TwoTarget, classify_particles
from xrm_sims.correlate.registration.volume_fit import VolumeFit, register_volume, seen_by_both
from xrm_sims.correlate.settings import AnalysisSettings, load_analysis_settings
from xrm_sims.correlate.volume.segment import Segmentation, Volume, gather, segment
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import parts_of
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part

CONTRAST_TARGET = "Cu"  # its line lies between the K edges of cobalt and nickel


@dataclass(frozen=True, eq=False)
class Compared:
    """Two scans of one specimen: the first volume segmented, the registration of the second, the second volume on the
    grid of the first (NaN outside its field), and the phases."""

    segmentation: Segmentation
    fit: VolumeFit
    second: Volume
    phases: TwoTarget


def compare(
    first: Tomogram,
    second: Tomogram,
    run: Any,
    progress: Progress,
    settings: AnalysisSettings = AnalysisSettings(),
) -> Compared:
    """Find particles in the first volume and their phase from both.

    The second scan, ``run``, is reconstructed again on the grid of the first and along its edges. Raises ValueError
    when the registration or the phases are uncertain.
    """
    progress("placing", 0.0)
    segmentation = segment(first.volume, first.voxel_um, settings.segmentation)
    progress("placing", 0.5)
    fit = register_volume(segmentation, second.volume, second.voxel_um, settings.volumes)
    progress("placing", 1.0)
    beside = recon.from_run_beside(run, second.geometry, first.volume, fit.matrix, first.voxel_um, progress=progress)
    volume, _ = gather(beside.volume, first.voxel_um, segmentation.voxel_um)
    seen = seen_by_both(segmentation, fit, second.volume.shape, second.voxel_um)
    volume = np.where(seen, volume, np.float32(np.nan))
    return Compared(segmentation, fit, volume, classify_particles(segmentation, volume, settings.two_target))


def two_target(
    first: str, second: str, *, data: Path | None, out: Path | None = None, settings: Path | None = None
) -> Compared:
    """Reconstruct the runs if needed, compare them, keep the map of phases, print and draw it.

    The run with copper separates the phases, in either order; the particles come from the other run, which also gets
    the result ``two_target``. Raises ValueError for runs that cannot be compared.
    """
    particles, contrast = in_order(*(tomography_parts(run, data) for run in (first, second)))
    check_one_specimen(particles, contrast)
    analysis = load_analysis_settings(Layout.of(data).root, settings)
    tomograms = _tomograms((particles, contrast), data)
    if tomograms[0].voxel_um != tomograms[1].voxel_um:
        raise ValueError(
            f"one volume has voxels of {tomograms[0].voxel_um:g} um and the other of {tomograms[1].voxel_um:g} um; "
            f"reconstruct one again: xrm-sims reconstruct {tomograms[1].uid[:8]} --voxel-um {tomograms[0].voxel_um:g}"
        )
    with stages() as progress:
        run = parts_of(find_run(tomograms[1].uid, data))
        made = compare(tomograms[0], tomograms[1], run, progress, analysis)
    keep(made, tomograms[0].uid, tomograms[1].uid, data)
    print("\n".join(in_words(made)))
    if out is not None:
        for path in write(made, (_target(particles), _target(contrast)), out):
            print(path)
    print(f"map and table kept at /results/{tomograms[0].uid}/two_target")
    return made


def in_order(first: Sequence[Part], second: Sequence[Part]) -> tuple[Sequence[Part], Sequence[Part]]:
    """Return the run for the particles and the run for the contrast. ValueError when the targets do not allow it."""
    targets = _target(first), _target(second)
    if first[0].uid == second[0].uid:
        raise ValueError(f"run {first[0].uid}: was given twice; give one run of each target")
    if targets[0] == targets[1]:
        raise ValueError(
            f"both runs were taken with a {targets[0]} target; two different ones are needed, one {CONTRAST_TARGET}"
        )
    if CONTRAST_TARGET not in targets:
        raise ValueError(
            f"the runs were taken with {targets[0]} and {targets[1]} targets, which show no contrast between LCO and "
            f"NCA; measure one with {CONTRAST_TARGET}: xrm-sims tomography --target {CONTRAST_TARGET}"
        )
    return (second, first) if targets[0] == CONTRAST_TARGET else (first, second)


def check_one_specimen(first: Sequence[Part], second: Sequence[Part]) -> None:
    """Raise ValueError when the runs are of two specimens.

    The clock of an instrument starts from 0 when a new specimen is mounted, even one of the same name.
    """
    parts = sorted((*first, *second), key=lambda part: part.start["time"])
    for one, next_one in pairwise(parts):
        names = [part.before.get("specimen") for part in (one, next_one)]
        if None not in names and names[0] != names[1]:
            raise ValueError(
                f"run {next_one.uid}: shows {names[1]}, and the other {names[0]}; two runs of one specimen are needed"
            )
        ended_s = (one.after or one.before).get("instrument_time_s", 0.0)
        if (began_s := next_one.before.get("instrument_time_s", ended_s)) < ended_s:
            raise ValueError(
                f"run {next_one.uid}: started at {began_s:.0f} s of the instrument's clock, and the other ended at "
                f"{ended_s:.0f} s: another specimen was mounted in between; two runs of one specimen are needed"
            )


def keep(made: Compared, uid: str, other: str, data: Path | None) -> None:
    """Keep phases, particles and registration as the result ``two_target`` of the first run."""
    told, segmentation = made.phases, made.segmentation
    about = {
        "axes": ["z", "y", "x"],
        "voxel_um": segmentation.voxel_um,
        "classes": {phase.words: int(phase) for phase in (Phase.PORE, Phase.LCO, Phase.NCA)},
        "registration": made.fit.as_dict(),
        "levels": {"LCO": told.levels.lco, "NCA": told.levels.nca},
        "scatter": told.scatter,
    }
    arrays: dict[str, Any] = {"classes": told.classes, "particles": told.labels}
    table = [particle.as_row() for particle in told.particles]
    results.save(data, uid, "two_target", arrays, about, parents=[other], tables={"table": table})


def in_words(made: Compared) -> list[str]:
    """Return lines about the registration, the contrast of the phases and their particles."""
    told = made.phases
    voxel_um3 = made.segmentation.voxel_um**3
    lines = [f"registration: {made.fit}", f"LCO over NCA: {told.contrast:.2f} times the ratio of attenuations"]
    for phase in (Phase.LCO, Phase.NCA):
        some = [particle for particle in told.particles if particle.phase is phase]
        volume_um3 = float((told.classes == phase).sum()) * voxel_um3
        unsure = sum(particle.probability < 0.95 for particle in some)
        lines.append(f"{phase.name}: {len(some)} particles, {volume_um3:.0f} um3; {unsure} of them less than 95 % sure")
    return lines


def write(made: Compared, targets: tuple[str, str], out: Path) -> list[Path]:
    """Write ``two_target.png`` and ``particles.csv`` (a line for each particle, lengths in um)."""
    from xrm_sims.correlate.figures import drawing
    from xrm_sims.correlate.figures.two_target_figure import two_target_figure

    out.mkdir(parents=True, exist_ok=True)
    figure = two_target_figure(made.segmentation, made.second, made.phases, targets)
    table = write_csv(out / "particles.csv", [particle.as_row() for particle in made.phases.particles], digits=4)
    return [drawing.save(figure, out / "two_target.png"), table]


def _target(parts: Sequence[Part]) -> str:
    return str(parts[0].start.get("beam", {}).get("target", "unknown"))


def _tomograms(runs: Sequence[Sequence[Part]], data: Path | None) -> list[Tomogram]:
    """Load the volumes of the runs; reconstruct complete runs that have none."""
    kept = [_kept(parts[0].uid, data) for parts in runs]
    for parts, tomogram in zip(runs, kept, strict=True):
        if tomogram is None:
            _check_complete(parts)
    return [
        reconstruct_tomogram(parts[0].uid, data) if tomogram is None else tomogram
        for parts, tomogram in zip(runs, kept, strict=True)
    ]


def _kept(uid: str, data: Path | None) -> Tomogram | None:
    try:
        return kept_tomogram(uid, data)
    except ValueError:
        return None


def _check_complete(parts: Sequence[Part]) -> None:
    """Raise ValueError for a scan that is still running or was interrupted."""
    start: dict[str, Any] = parts[0].start
    taken, short = sum(len(part.taken) for part in parts), start["uid"][:8]
    wanted = start.get("num_projections", taken)
    if not parts[-1].ended or taken < wanted:
        raise ValueError(
            f"run {start['uid']}: has {taken} of {wanted} views and no volume; xrm-sims resume {short} measures "
            f"the rest, xrm-sims reconstruct {short} uses only these"
        )
