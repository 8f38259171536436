"""What the report says of elements mapped with electrons beside a map."""

from __future__ import annotations

from xrm_sims.app.common.html import Element, Node, element, table
from xrm_sims.app.common.rasters import raster_of
from xrm_sims.app.correlative.eds import KIND, draw_beside, look_beside
from xrm_sims.app.report.holdings import Holdings, Map
from xrm_sims.app.report.sections import section, shown
from xrm_sims.app.tomography.tomogram import Ct
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.data import results

HEAD = ("Particle", "Counts", "Ni / (Ni + Co)", "EDS says", "As SIMS")


def elements(held: Holdings, each: Map, ct: Ct | None) -> list[Element]:
    """A section for each EDS map that was placed beside this map."""
    if ct is None or each.registration is None:
        return []
    return [
        _section(held, each, each.registration, run.uid, ct)
        for run in held.runs
        if each.run.uid in held.parents_of(run.uid, KIND)
    ]


def _section(held: Holdings, each: Map, registration: Registration, eds_uid: str, ct: Ct) -> Element:
    kept = results.load(held.data, eds_uid, KIND)
    placed = Registration.from_dict(results.load(held.data, eds_uid, "registration").metadata)
    start = each.run.start
    _, sem_uid = held.parents_of(eds_uid, KIND)
    beside = look_beside(eds_uid, sem_uid, placed, registration, raster_of(start), held.data)
    rows: list[list[Node]] = [
        [
            str(row["particle"]),
            f"{row['counts']:,.0f}",
            f"{row['nickel_share']:.3f} ± {row['sigma']:.3f}",
            row["says"] or "nothing for certain",
            row["agrees"],
        ]
        for row in kept.tables["verdicts"].to_dict("records")
    ]
    nodes: list[Node] = [
        element(
            "p", f"Placed within {placed.sigma_nm:.0f} nm by an image that the electron beam took of the same field."
        ),
        shown(
            draw_beside(ct, start, registration, beside, held.data),
            f"CT slice and ions above, electrons and X-rays of {', '.join(beside.elements)} below, in one field",
            "The same field, with the rims of the particles as CT has them. X-rays come from about a micrometre under "
            "the surface, ions from its topmost nanometres.",
        ),
    ]
    if rows:
        nodes.append(table(HEAD, rows))
    return section(f"elements-{eds_uid[:8]}", "Elements", *nodes)
