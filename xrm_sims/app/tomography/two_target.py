"""The command two-target: from two tomograms with different X-ray targets to a 3D map of LCO and NCA."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import recon
from recon.kernels.progress import Progress
from xrm_sims.app.common.progress import stages
from xrm_sims.app.tomography.selection import tomography_parts
from xrm_sims.app.tomography.tomogram import Tomogram, kept_tomogram, reconstruct_tomogram
from xrm_sims.atomic_write import write_whole
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.phases.two_target import TwoTarget, classify_particles
from xrm_sims.correlate.registration.volume_fit import VolumeFit, register_volume, seen_by_both
from xrm_sims.correlate.settings import AnalysisSettings, load_analysis_settings
from xrm_sims.correlate.volume.segment import Segmentation, Volume, gather, segment
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import parts_of
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part

TELLING = "Cu"  # its line lies between the K edges of cobalt and nickel


@dataclass(frozen=True, eq=False)
class Compared:
    """Two scans of one specimen compared: the first volume divided, where the second lies, and the second volume on
    the grid of the first, NaN where it saw nothing."""

    segmentation: Segmentation
    fit: VolumeFit
    second: Volume
    told: TwoTarget


def compare(
    first: Tomogram,
    second: Tomogram,
    run: Any,
    progress: Progress,
    settings: AnalysisSettings = AnalysisSettings(),
) -> Compared:
    """Particles from the first volume, their phase from both; the second scan, ``run``, is reconstructed once more, on
    the grid of the first and along its edges. ValueError where that is uncertain."""
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
    """The command: reconstruct what is not yet, compare, keep the map of phases, say what there is, draw it.

    The run with copper tells the phases apart, whichever of both it is; the particles are those of the other one. The
    result ``two_target`` is kept beside that. Raises ValueError for runs that cannot be compared.
    """
    plain, telling = in_order(*(tomography_parts(run, data, "phases are told by") for run in (first, second)))
    check_one_specimen(plain, telling)
    analysis = load_analysis_settings(Layout.of(data).root, settings)
    tomograms = _tomograms((plain, telling), data)
    if tomograms[0].voxel_um != tomograms[1].voxel_um:
        raise ValueError(
            f"voxels of {tomograms[0].voxel_um:g} um in one volume and of {tomograms[1].voxel_um:g} um in the other; "
            f"make them the same: xrm-sims reconstruct {tomograms[1].uid[:8]} --voxel-um {tomograms[0].voxel_um:g}"
        )
    with stages() as progress:
        run = parts_of(find_run(tomograms[1].uid, data))
        made = compare(tomograms[0], tomograms[1], run, progress, analysis)
    keep(made, tomograms[0].uid, tomograms[1].uid, data)
    print("\n".join(in_words(made)))
    if out is not None:
        for path in write(made, (_target(plain), _target(telling)), out):
            print(path)
    print(f"map and table kept at /results/{tomograms[0].uid}/two_target")
    return made


def in_order(first: Sequence[Part], second: Sequence[Part]) -> tuple[Sequence[Part], Sequence[Part]]:
    """The run that shows the particles, and the one that tells them apart. ValueError for two that do not."""
    targets = _target(first), _target(second)
    if first[0].uid == second[0].uid:
        raise ValueError(f"run {first[0].uid}: was named twice; name one with each target")
    if targets[0] == targets[1]:
        raise ValueError(
            f"both runs were taken with a {targets[0]} target; two different ones are needed, one {TELLING}"
        )
    if TELLING not in targets:
        raise ValueError(
            f"the runs were taken with {targets[0]} and {targets[1]} targets, which see LCO and NCA alike; take one "
            f"with {TELLING}: xrm-sims tomography --target {TELLING}"
        )
    return (second, first) if targets[0] == TELLING else (first, second)


def check_one_specimen(first: Sequence[Part], second: Sequence[Part]) -> None:
    """ValueError when the runs are of two specimens.

    An instrument that was begun anew counts from 0 again, whatever its specimen is called.
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
                f"run {next_one.uid}: began at {began_s:.0f} s of the instrument's clock, and the other had ended at "
                f"{ended_s:.0f} s: another specimen was mounted in between; two runs of one specimen are needed"
            )


def keep(made: Compared, uid: str, other: str, data: Path | None) -> None:
    """Phases, particles and where the second volume lies as the result ``two_target`` of the first run."""
    told, segmentation = made.told, made.segmentation
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
    """Where the second volume lies, how far apart the phases are, how many particles of each."""
    told = made.told
    voxel_um3 = made.segmentation.voxel_um**3
    lines = [f"registration: {made.fit}", f"LCO over NCA: {told.contrast:.2f} times the ratio of attenuations"]
    for phase in (Phase.LCO, Phase.NCA):
        some = [particle for particle in told.particles if particle.phase is phase]
        volume_um3 = float((told.classes == phase).sum()) * voxel_um3
        unsure = sum(particle.probability < 0.95 for particle in some)
        lines.append(f"{phase.name}: {len(some)} particles, {volume_um3:.0f} um3; {unsure} of them less than 95 % sure")
    return lines


def as_csv(made: Compared) -> str:
    """All particles, a line each; lengths in um."""
    text = io.StringIO()
    rows = [particle.as_row() for particle in made.told.particles]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: round(cell, 4) if isinstance(cell, float) else cell for name, cell in row.items()})
    return text.getvalue()


def write(made: Compared, targets: tuple[str, str], out: Path) -> list[Path]:
    """``two_target.png`` and ``particles.csv``."""
    from xrm_sims.correlate.figures import drawing
    from xrm_sims.correlate.figures.two_target_figure import two_target_figure

    out.mkdir(parents=True, exist_ok=True)
    figure = two_target_figure(made.segmentation, made.second, made.told, targets)
    write_whole(out / "particles.csv", as_csv(made))
    return [drawing.save(figure, out / "two_target.png"), out / "particles.csv"]


def _target(parts: Sequence[Part]) -> str:
    return str(parts[0].start.get("beam", {}).get("target", "unknown"))


def _tomograms(runs: Sequence[Sequence[Part]], data: Path | None) -> list[Tomogram]:
    """The kept volumes of the runs, and new ones of those that have none and are whole."""
    kept = [_kept(parts[0].uid, data) for parts in runs]
    for parts, tomogram in zip(runs, kept, strict=True):
        if tomogram is None:
            _check_whole(parts)
    return [
        reconstruct_tomogram(parts[0].uid, data) if tomogram is None else tomogram
        for parts, tomogram in zip(runs, kept, strict=True)
    ]


def _kept(uid: str, data: Path | None) -> Tomogram | None:
    try:
        return kept_tomogram(uid, data)
    except ValueError:
        return None


def _check_whole(parts: Sequence[Part]) -> None:
    """ValueError for a scan that still goes on or was interrupted."""
    start: dict[str, Any] = parts[0].start
    taken, short = sum(len(part.taken) for part in parts), start["uid"][:8]
    wanted = start.get("num_projections", taken)
    if not parts[-1].ended or taken < wanted:
        raise ValueError(
            f"run {start['uid']}: has {taken} of {wanted} views and no volume; xrm-sims resume {short} takes the rest, "
            f"xrm-sims reconstruct {short} makes do with these"
        )
