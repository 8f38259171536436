"""Options that several commands share, and what is said of a data root that will not do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.common.errors import keep_log


def _data(data: Path | None) -> Path | None:
    keep_log(data)
    return data


def existing_data(data: Path | None) -> Path:
    """The data root of a command that reads; ValueError when it is not there or holds no runs."""
    from xrm_sims.data.layout import Layout, data_root

    root = data_root(data)
    if not root.is_dir():
        raise ValueError(f"data root {root} does not exist; name another with --data, or measure something first")
    if not Layout(root).holds_data:
        raise ValueError(f"data root {root} holds no runs; name another with --data, or measure something first")
    _data(root)
    return root


_DATA_HELP = "Data root; default XRM_SIMS_DATA, else a folder in the user's data directory."
Data = Annotated[Path | None, typer.Option("--data", help=_DATA_HELP, callback=_data)]
ExistingData = Annotated[Path | None, typer.Option("--data", help=_DATA_HELP, callback=existing_data)]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of the specimen and of all chance; default: what is mounted, else 1."),
]
Sample = Annotated[
    str | None, typer.Option("--sample", help="Specimen to mount; default: what is mounted, else cathode_pillar.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Mount a new specimen and forget the one in the instrument.")]
Clock = Annotated[
    str, typer.Option("--clock", help="Twin time: fast (as it computes), real, or a factor such as 3600.")
]
Operator = Annotated[str, typer.Option("--operator", help="Who measures; recorded in every run.")]
Hardware = Annotated[
    str,
    typer.Option(
        "--hardware",
        envvar="XRM_SIMS_HARDWARE",
        help="What to drive: twin, or epics:PREFIX for what xrm-sims ioc serves.",
    ),
]
Preflight = Annotated[bool, typer.Option("--preflight", help="Print time, dose, disk and limits; no beam.")]
