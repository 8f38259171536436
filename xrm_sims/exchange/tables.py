"""CSV tables: tables among the results of a run, its drift by view, and the readings of each frame.

Column names contain the units; lines that begin with ``#`` hold the provenance (``comment="#"`` in pandas).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from xrm_sims.data import find_run
from xrm_sims.data.catalog import as_catalog, results_beside
from xrm_sims.exchange.provenance import Provenance, provenance_of_runs
from xrm_sims.exchange.round_trip import READINGS
from xrm_sims.exchange.scans import read_scan
from xrm_sims.exchange.writing import Progress
from xrm_sims.scan_type import ScanType


@dataclass(frozen=True, eq=False)
class Tables:
    """Tables by name, and their provenance."""

    frames: dict[str, pandas.DataFrame]
    provenance: Provenance

    @property
    def nbytes(self) -> int:
        return sum(int(table.memory_usage(deep=True).sum()) for table in self.frames.values())


def read_tables(uid: str, data: Any = None, licence: str | None = None) -> Tables:
    """Return all tables of a run. Raises ValueError when there is no such run, or no table."""
    start = find_run(uid, data).metadata["start"]
    first = start.get("resumes_uid", start["uid"])
    of_run = results_beside(as_catalog(data)).get(first, {})
    complete = {kind: dict(result.items()) for kind, result in of_run.items() if result.metadata.get("complete")}
    tables = {
        kind if name == kind else f"{kind}-{name}": _flat(part.read())
        for kind, parts in complete.items()
        for name, part in parts.items()
        if part.structure_family == "table"
    }
    if "drift" in complete:
        tables["drift"] = _drift({name: part.read() for name, part in complete["drift"].items()})
    if start.get("scan_type") == ScanType.TOMOGRAPHY:
        scan = read_scan(uid, data)
        columns = {key: getattr(scan.frames, column) for key, column in READINGS.items()}
        tables["frames"] = pandas.DataFrame({"stream": scan.streams, **columns})
    if not tables:
        raise ValueError(f"run {first}: has no table among its results to export as csv")
    return Tables(tables, provenance_of_runs([start], "tables", licence))


def write_tables(tables: Tables, folder: Path, progress: Progress) -> None:
    """Write one file per table into a new folder."""
    folder.mkdir()
    for done, (name, table) in enumerate(tables.frames.items(), 1):
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            file.writelines(f"# {line}\n" for line in tables.provenance.as_text().splitlines())
            table.to_csv(file, index=False)
        progress("csv", done / len(tables.frames))


def _flat(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return the table with a column for each element of lists of equal length, such as a centre."""
    columns: dict[str, Any] = {}
    for name in table.columns:
        lists = [_numbers(value) for value in table[name]]
        lengths = {0 if one is None else len(one) for one in lists}
        if len(lengths) == 1 and (length := lengths.pop()):
            axes = "xyz" if length == 3 else range(length)
            columns |= {f"{name}_{axis}": [one[n] for one in lists if one] for n, axis in enumerate(axes)}
        else:
            columns[name] = table[name]
    return pandas.DataFrame(columns)


def _numbers(value: Any) -> list[float] | None:
    """Return the numbers of a list, also when the catalogue returns it as text; None for anything else."""
    if np.ndim(value) == 1:
        return list(value)
    if not (isinstance(value, str) and value[:1] + value[-1:] == "[]"):
        return None
    try:
        return [float(text) for text in value[1:-1].replace(",", " ").split()]
    except ValueError:
        return None


def _drift(arrays: dict[str, Any]) -> pandas.DataFrame:
    rows, columns = np.asarray(arrays["view_shifts_px"]).T
    named = {"angle_deg": arrays["angles_deg"], "time_s": arrays["times_s"], "row_px": rows, "column_px": columns}
    if "view_scale" in arrays:
        named["scale"] = arrays["view_scale"]
    return pandas.DataFrame(named)
