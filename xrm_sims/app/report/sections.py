"""The sections of a report: each computes its figures and tables, ``sections.html.j2`` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from xrm_sims.app.common.html import render_macro
from xrm_sims.app.common.rasters import labels_of, raster_of
from xrm_sims.app.correlative import figures as correlative_figures
from xrm_sims.app.correlative.eds import KIND, draw_beside, look_beside
from xrm_sims.app.report.holdings import Holdings, Map, Scan
from xrm_sims.app.report.slices import Field, view_slices
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.tomography import figures as tomogram_figures
from xrm_sims.app.tomography.tomogram import Tomogram
from xrm_sims.correlate.figures import map_figures
from xrm_sims.correlate.figures.drawing import as_png
from xrm_sims.correlate.figures.phase_figures import phases_figure
from xrm_sims.correlate.maps.field_maps import channel_statistics
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.data import results
from xrm_sims.geometry import apply_affine
from xrm_sims.settings import Settings

DPI = 110
MAX_LIST_ITEMS = 12  # numbers of a list in a start document that are shown


class Section(NamedTuple):
    """One section of the page; ``id`` is the target of its link in the contents."""

    id: str
    title: str
    body: str


def _section(kind: str, title: str, uid: str = "", **values: object) -> Section:
    body = render_macro("report/sections.html.j2", kind, **values)
    return Section(f"{kind}-{uid[:8]}" if uid else kind, title, body)


def _png(figure: Figure) -> bytes:
    return as_png(figure, DPI)


def timeline(held: Holdings) -> Section:
    """Return what was done when, how long it took, and its doses."""
    return _section("timeline", "Timeline", runs=held.runs, span_s=held.span_s or (0.0, 0.0))


def volume(scan: Scan, maps: Sequence[Map]) -> Section | None:
    """Return a tomography's volume as a figure and slice by slice; ``maps`` lie in it."""
    if (tomogram := scan.tomogram) is None:
        return None
    chosen = next((each.defect for each in maps if each.defect is not None), None)
    top_view = next(
        ((m.top_view, m.registration.scan_to_specimen) for m in maps if m.top_view and m.registration), None
    )
    overview = tomogram_figures.overview(tomogram, scan.defects, scan.pillar, chosen, top_view)
    fields = [_field(each.registration, each.sims[1]) for each in maps if each.registration and each.sims]
    return _section(
        "volume",
        f"Volume of run {scan.run.short}",
        scan.run.uid,
        scan=scan,
        overview=_png(overview),
        chosen=chosen,
        viewer=view_slices(tomogram.volume, tomogram.voxel_um, scan.pillar, scan.defects, chosen, fields),
    )


def _field(registration: Registration, start: Mapping[str, Any]) -> Field:
    """Return where a map's field lies in the specimen frame."""
    rows, columns = start["shape"]
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) - 0.5
    return Field(apply_affine(registration.sims_to_specimen, corners), registration.exposed_z_um)


def rois(scan: Scan, maps: Sequence[Map]) -> Section | None:
    """Return the list of pores and cracks in the volume, best first."""
    if scan.rois is None:
        return None
    chosen = next((each.defect.label for each in maps if each.defect is not None), None)
    return _section("rois", "Regions of interest", scan.run.uid, rois=scan.rois, chosen=chosen, rule=scan.rule)


def drift(scan: Scan) -> Section | None:
    """Return the shifts of the projections for which the reconstruction corrected."""
    if scan.tomogram is None:
        return None
    figure = tomogram_figures.drift(scan.tomogram)
    return _section(
        "drift", "Drift and run-out", scan.run.uid, run=scan.run, png=None if figure is None else _png(figure)
    )


def registration(each: Map, tomogram: Tomogram | None) -> Section | None:
    """Return where the map lies in the volume, and how exactly that is known."""
    if each.registration is None or each.sims is None:
        return None
    png = tomogram and _png(correlative_figures.registered(tomogram, each.registration, each.sims))
    return _section("registration", "Registration of SIMS and CT", each.run.uid, each=each, png=png)


def overlay(each: Map, tomogram: Tomogram | None) -> Section | None:
    """Return CT, SE and SIMS images of one field."""
    if tomogram is None or each.registration is None or each.sims is None:
        return None
    figure = correlative_figures.overlay(tomogram, each.registration, each.sims, each.close_up, each.defect)
    return _section("overlay", "Morphology and chemistry", each.run.uid, png=_png(figure))


def counts(each: Map) -> Section | None:
    """Return an image and statistics of each channel."""
    if each.sims is None:
        return None
    frames, start = each.sims
    labels = labels_of(start)
    return _section(
        "counts",
        f"SIMS map {each.run.short}",
        each.run.uid,
        run=each.run,
        labels=labels,
        png=_png(map_figures.channels_figure(frames, labels, raster_of(start))),
        statistics=channel_statistics(frames, labels),
    )


def phases(each: Map) -> Section | None:
    """Return the phases of a map with their probabilities, its particles, and the mean counts of each phase."""
    if each.phases is None or each.sims is None:
        return None
    png = _png(phases_figure(each.phases, raster_of(each.sims[1])))
    return _section("phases", "Phases", each.run.uid, png=png, phases=each.phases)


def elements(held: Holdings, each: Map, tomogram: Tomogram | None) -> list[Section]:
    """Return a section for each EDS map of the same field as this SIMS map."""
    if tomogram is None or each.registration is None:
        return []
    eds_uids = [run.uid for run in held.runs if each.run.uid in held.parents_of(run.uid, KIND)]
    return [_elements(held, each.run.start, each.registration, uid, tomogram) for uid in eds_uids]


def _elements(
    held: Holdings, start: Mapping[str, Any], sims: Registration, eds_uid: str, tomogram: Tomogram
) -> Section:
    placed = Registration.from_dict(results.load(held.data, eds_uid, "registration").metadata)
    _, sem_uid = held.parents_of(eds_uid, KIND)
    beside = look_beside(eds_uid, sem_uid, placed, sims, raster_of(start), held.data)
    return _section(
        "elements",
        "Elements",
        eds_uid,
        placed=placed,
        elements=beside.elements,
        png=_png(draw_beside(tomogram, start, sims, beside, held.data)),
        verdicts=results.load(held.data, eds_uid, KIND).tables["verdicts"].to_dict("records"),
    )


def settings(held: Holdings) -> Section:
    """Return the settings that differ from the defaults, and the start document of each run."""
    changed, error = None, None
    try:
        now = session_settings(held.data).model_dump(mode="json")
        changed = list(_differing(now, Settings().model_dump(mode="json")))
    except ValueError as refused:
        error = refused
    starts = [(run, json.dumps(_shorten(run.start), indent=1, ensure_ascii=False)) for run in held.runs]
    return _section("settings", "Settings", changed=changed, error=error, starts=starts)


def _differing(now: Mapping[str, Any], default: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, value and default of each setting that has another value than its default."""
    for name, value in now.items():
        if isinstance(value, dict):
            yield from _differing(value, default[name], f"{above}{name}.")
        elif value != default[name]:
            yield f"{above}{name}", json.dumps(value), json.dumps(default[name])


def _shorten(value: Any) -> Any:
    """Return a document with the first items of each long list."""
    if isinstance(value, Mapping):
        return {name: _shorten(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        rest = [f"… {len(value)} in all"] if len(value) > MAX_LIST_ITEMS else []
        return [_shorten(inner) for inner in value[:MAX_LIST_ITEMS]] + rest
    return value


def versions(held: Holdings) -> Section:
    """Return the versions of the software that measured and computed."""
    measured = [run.start.get("versions", {}) for run in held.runs]
    computed = [about.get("versions", {}) for about in held.results]
    names = sorted({name for each in (*measured, *computed) for name in each})
    rows = [(name, *(_values(name, tables) for tables in (measured, computed))) for name in names]
    return _section("versions", "Software", rows=rows)


def _values(name: str, tables: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({str(table[name]) for table in tables if name in table}))


def runs(held: Holdings) -> Section:
    """Return the uid and the purpose of each run, and each stored result."""
    complete = [about for about in held.results if {"run_uid", "kind", "time"} <= set(about)]
    return _section("runs", "Runs and results", runs=held.runs, results=complete, data=held.data)
