"""The validation report: a Markdown page, and a line for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xrm_sims.app.validation.rows import Row


def line(row: Row) -> str:
    """Return one row as a line for the terminal."""
    verdict = "pass" if row.passed else "FAIL"
    return f"{verdict}  {row.name}: {row.statement}: {row.measured} (limit {row.allowed})"


def markdown(rows: Sequence[Row], seed: int, seconds: float, pictures: Sequence[Path] = ()) -> str:
    """Return the report as Markdown."""
    failed = [row.name for row in rows if not row.passed]
    verdict = f"{len(failed)} of {len(rows)} rows fail: {', '.join(failed)}" if failed else f"all {len(rows)} rows pass"
    text = [
        "# Validation of the digital twin",
        "",
        f"Specimen and noise of seed {seed}; {verdict}; {seconds:.0f} s. Every figure was measured through "
        "devices, plans and documents; ± is one standard uncertainty.",
        "",
        "| row | statement | twin | limit | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.name, row.statement, row.measured, row.allowed, "pass" if row.passed else "**FAIL**")
        text.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    text += ["", "## How each figure was obtained", ""]
    text += [f"- **{row.name}**: {row.remark}" for row in rows if row.remark]
    if pictures:
        text += ["", "## Pictures", ""]
        text += [f"![{path.stem.replace('_', ' ')}]({path.name})" for path in pictures]
    return "\n".join(text) + "\n"
