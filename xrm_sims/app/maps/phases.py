"""Compute, save and load the phases of a registered SIMS map, the result ``/results/<SIMS run>/phases``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from xrm_sims.app.common.rasters import labels_of
from xrm_sims.app.maps.sims_maps import Maps
from xrm_sims.correlate.phases.chemistry import Chemistry, analyse
from xrm_sims.correlate.phases.particles import COLUMNS, Particle
from xrm_sims.correlate.phases.phase_statistics import BinderAluminium, Mean, PhaseRow
from xrm_sims.correlate.phases.phases import CHANNELS, Phase, has_phase_channels
from xrm_sims.correlate.phases.profiles import LineProfile
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.settings import AnalysisSettings
from xrm_sims.correlate.volume.segment import Segmentation
from xrm_sims.data import results
from xrm_sims.settings import Settings

if TYPE_CHECKING:
    import pandas

KIND = "phases"
MAPS = ("probabilities", "nca_share", "particle_labels")
ENDS = ("", "_low", "_high")  # of the columns of a mean and its interval
T = TypeVar("T")


def make_phases(
    maps: Maps,
    registration: Registration,
    segmentation: Segmentation,
    data: Path | None,
    instrument: Settings,
    parents: Sequence[str],
    analysis: AnalysisSettings = AnalysisSettings(),
) -> Chemistry | None:
    """Compute the phases of a map and save them as a result of its run; ``parents`` are the other runs that were used.

    Returns None and saves nothing if the map lacks a channel. Raises the errors of ``analyse``.
    """
    labels = labels_of(maps.start)
    if not has_phase_channels(labels):
        return None
    found = analyse(
        maps.counts,
        labels,
        maps.whole_raster,
        current_pa=maps.start.get("current_pa", instrument.ion.current_pa),
        instrument=instrument,
        registration=registration,
        segmentation=segmentation,
        settings=analysis.phases,
        particle_settings=analysis.particles,
        boundary_settings=analysis.boundaries,
    )
    _save(found, maps.uid, data, analysis.phases.as_dict(), parents)
    return found


def _save(found: Chemistry, uid: str, data: Path | None, parameters: dict[str, Any], parents: Sequence[str]) -> None:
    """Save the maps, and tables of particles, phases, binder and profiles."""
    import pandas

    lines = [
        {"line": number, **_ends(line), **row}
        for number, line in enumerate(found.profiles, 1)
        for row in line.as_rows()
    ]
    binder = found.binder
    aluminium = {
        "pixels": binder.pixels,
        **_limits("measured", binder.measured),
        "around": binder.around,
        "hydrocarbon": binder.hydrocarbon,
        "hydrocarbon_share": binder.hydrocarbon_share,
        **_limits("aluminium", binder.aluminium),
    }
    results.save(
        data,
        uid,
        KIND,
        {name: getattr(found, name) for name in MAPS},
        {"phases": [phase.words for phase in Phase], "unseen_ct_labels": found.unseen, "settings": parameters},
        parents,
        tables={
            "particles": pandas.DataFrame([p.as_row() for p in found.particles], columns=list(COLUMNS)),
            "statistics": pandas.DataFrame([row.as_row() for row in found.statistics]),
            "binder_aluminium": pandas.DataFrame([aluminium]),
            "profiles": pandas.DataFrame(lines, columns=None if lines else ["line"]),
        },
    )


def load_phases(uid: str, data: Path | None) -> Chemistry:
    """Return the saved phases of a run; ValueError if there are none."""
    saved = results.load(data, uid, KIND)
    (binder,) = saved.tables["binder_aluminium"].to_dict("records")
    measured, aluminium = (Mean(*(binder[name + end] for end in ENDS)) for name in ("measured", "aluminium"))
    return Chemistry(
        particles=_of_class(Particle, saved.tables["particles"]),
        statistics=_of_class(PhaseRow, saved.tables["statistics"]),
        binder=BinderAluminium(binder["pixels"], measured, binder["around"], binder["hydrocarbon"], aluminium),
        profiles=[_line(rows) for _, rows in saved.tables["profiles"].groupby("line")],
        unseen=list(saved.metadata["unseen_ct_labels"]),
        **{name: saved.arrays[name] for name in MAPS},
    )


def _of_class(kind: Callable[..., T], table: pandas.DataFrame) -> list[T]:
    """Return the rows of a table as instances of a dataclass, without further columns."""
    return [kind(**row) for row in table[list(inspect.signature(kind).parameters)].to_dict("records")]


def _limits(name: str, mean: Mean) -> dict[str, float]:
    return dict(zip((name + end for end in ENDS), (mean.mean, mean.low, mean.high), strict=True))


def _ends(line: LineProfile) -> dict[str, Any]:
    (r0, c0), (r1, c1) = line.start_px, line.end_px
    return {"start_row": r0, "start_column": c0, "end_row": r1, "end_column": c1, "width_px": line.width_px}


def _line(rows: pandas.DataFrame) -> LineProfile:
    r0, c0, r1, c1, width_px = rows[["start_row", "start_column", "end_row", "end_column", "width_px"]].iloc[0]
    return LineProfile(
        rows["distance_um"].to_numpy(),
        rows[list(CHANNELS)].to_numpy().T,
        rows[[f"sigma_{name}" for name in CHANNELS]].to_numpy().T,
        (float(r0), float(c0)),
        (float(r1), float(c1)),
        int(width_px),
    )
