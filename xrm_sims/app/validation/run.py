"""All rows in order, and a run of some or all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from xrm_sims.app.common.progress import stages
from xrm_sims.app.validation import ions, link, surface, xrays
from xrm_sims.app.validation.laboratory import Laboratory
from xrm_sims.app.validation.report import line, markdown
from xrm_sims.app.validation.rows import Row
from xrm_sims.atomic_write import write_whole

# Each row with about how many seconds the scans take that it is the first to need.
ROWS: dict[str, tuple[Callable[[Laboratory], Row], float]] = {
    "open_beam": (xrays.open_beam, 15),
    "transmission": (xrays.transmission, 5),
    "edge": (xrays.edge, 230),
    "grey_tungsten": (xrays.grey_tungsten, 60),
    "binder_in_ct": (xrays.binder_in_ct, 1),
    "grey_copper": (xrays.grey_copper, 60),
    "copper_particles": (xrays.copper_particles, 1),
    "binder_in_se": (surface.binder_in_se, 10),
    "grey_se": (surface.grey_se, 1),
    "nickel_and_cobalt": (surface.nickel_and_cobalt, 10),
    "no_lithium": (surface.no_lithium, 5),
    "lithium_in_active": (ions.lithium_in_active, 30),
    "lithium_in_binder": (ions.lithium_in_binder, 12),
    "aluminium_at_boundaries": (ions.aluminium_at_boundaries, 1),
    "aluminium_in_binder": (ions.aluminium_in_binder, 16),
    "aluminium_on_lco": (ions.aluminium_on_lco, 1),
    "impact_energy": (ions.impact_energy, 1),
    "counts_per_pixel": (ions.counts_per_pixel, 1),
    "erosion": (ions.erosion, 1),
    "hydrocarbon": (ions.hydrocarbon, 1),
    "pore_and_signal": (link.pore_and_signal, 60),
}


def chosen_rows(names: Sequence[str] = ()) -> dict[str, tuple[Callable[[Laboratory], Row], float]]:
    """The rows of these names in their own order, all without names; ValueError for a name that is none."""
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ValueError(f"rows: {', '.join(map(repr, unknown))} unknown; there are {', '.join(ROWS)}")
    return {name: entry for name, entry in ROWS.items() if not names or name in names}


def validate(
    out: Path, *, seed: int = 1, names: Sequence[str] = (), announce: Callable[[str], None] = print
) -> list[Row]:
    """Measure, and leave ``validation.md`` and the pictures in ``out``, the runs in data roots below it.

    ``announce`` hears each row when it is done. Raises ValueError for an unknown row, before anything is measured.
    """
    rows = chosen_rows(names)
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    lab = Laboratory(out, seed)
    done: list[Row] = []
    spent, whole = 0.0, sum(cost for _, cost in rows.values())
    with stages() as progress:
        for measure, cost in rows.values():
            progress("validation", spent / whole)
            done.append(measure(lab))
            announce(line(done[-1]))
            spent += cost
        progress("validation", 1.0)
    text = markdown(done, seed, time.perf_counter() - began, lab.pictures)
    announce(f"report: {write_whole(out / 'validation.md', text)}")
    return done
