"""Write a table as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xrm_sims.atomic_write import write_whole


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (), *, digits: int) -> Path:
    """Write a line for each row, with floats rounded to ``digits``; ``columns`` default to those of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: round(cell, digits) if isinstance(cell, float) else cell for name, cell in row.items()})
    write_whole(path, text.getvalue())
    return path
