"""Phases of a registered SIMS map as a result of its run: made, kept at ``/results/<SIMS run>/phases``, read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from xrm_sims.app.common.rasters import labels_of
from xrm_sims.app.maps.sims_maps import Maps
from xrm_sims.correlate.phases.chemistry import Chemistry, analyse
from xrm_sims.correlate.phases.particles import COLUMNS, Particle
from xrm_sims.correlate.phases.phase_statistics import BinderAluminium, Mean, PhaseRow
from xrm_sims.correlate.phases.phases import CHANNELS, Phase, tells_phases
from xrm_sims.correlate.phases.profiles import LineProfile
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.settings import AnalysisSettings
from xrm_sims.correlate.volume.segment import Segmentation
from xrm_sims.data import results
from xrm_sims.settings import Settings

KIND = "phases"


def tell_phases(
    maps: Maps,
    registration: Registration,
    segmentation: Segmentation,
    data: Path | None,
    instrument: Settings,
    parents: Sequence[str],
    analysis: AnalysisSettings = AnalysisSettings(),
) -> Chemistry | None:
    """Phases of a map, kept as a result of its run.

    None, and nothing kept, of a map whose channels do not tell them. ``parents`` are the other runs it rests on. Raises
    what ``correlate.chemistry.analyse`` does.
    """
    labels = labels_of(maps.start)
    if not tells_phases(labels):
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
    """Maps, and tables of particles, phases, binder and profiles."""
    import pandas

    lines = [
        {"line": number, **_ends(line), **row}
        for number, line in enumerate(found.profiles, 1)
        for row in line.as_rows()
    ]
    binder = found.binder
    told = {
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
        {
            "probabilities": found.probabilities,
            "nca_share": found.nca_share,
            "particle_labels": found.particle_labels,
        },
        {"phases": [phase.words for phase in Phase], "unseen_ct_labels": found.unseen, "settings": parameters},
        parents,
        tables={
            "particles": pandas.DataFrame([p.as_row() for p in found.particles], columns=list(COLUMNS)),
            "statistics": pandas.DataFrame([row.as_row() for row in found.statistics]),
            "binder_aluminium": pandas.DataFrame([told]),
            "profiles": pandas.DataFrame(lines, columns=None if lines else ["line"]),
        },
    )


def kept_phases(uid: str, data: Path | None) -> Chemistry:
    """What :func:`tell_phases` has kept; ValueError when there is no such result."""
    kept = results.load(data, uid, KIND)
    tables = {name: table.to_dict("records") for name, table in kept.tables.items()}
    (told,) = tables["binder_aluminium"]
    numbers: dict[int, list[dict[str, Any]]] = {}
    for row in tables["profiles"]:
        numbers.setdefault(row["line"], []).append(row)
    return Chemistry(
        kept.arrays["probabilities"],
        kept.arrays["nca_share"],
        kept.arrays["particle_labels"],
        [Particle(**_own(Particle, row)) for row in tables["particles"]],
        [PhaseRow(**_own(PhaseRow, row)) for row in tables["statistics"]],
        BinderAluminium(
            told["pixels"], _mean("measured", told), told["around"], told["hydrocarbon"], _mean("aluminium", told)
        ),
        [_line(rows) for rows in numbers.values()],
        list(kept.metadata["unseen_ct_labels"]),
    )


def _own(kind: Any, row: dict[str, Any]) -> dict[str, Any]:
    return {each.name: row[each.name] for each in fields(kind)}


def _limits(name: str, mean: Mean) -> dict[str, float]:
    return {name: mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high}


def _mean(name: str, row: dict[str, Any]) -> Mean:
    return Mean(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _ends(line: LineProfile) -> dict[str, Any]:
    (r0, c0), (r1, c1) = line.start_px, line.end_px
    return {"start_row": r0, "start_column": c0, "end_row": r1, "end_column": c1, "width_px": line.width_px}


def _line(rows: list[dict[str, Any]]) -> LineProfile:
    first = rows[0]
    return LineProfile(
        np.array([row["distance_um"] for row in rows]),
        np.array([[row[name] for row in rows] for name in CHANNELS]),
        np.array([[row[f"sigma_{name}"] for row in rows] for name in CHANNELS]),
        (first["start_row"], first["start_column"]),
        (first["end_row"], first["end_column"]),
        first["width_px"],
    )
