"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypedDict, get_type_hints

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
Clock = Annotated[
    str, typer.Option("--clock", help="Twin time: fast (as it computes), real, or a factor such as 3600.")
]
Operator = Annotated[str, typer.Option("--operator", help="Who measures; recorded in every run.")]
Preflight = Annotated[bool, typer.Option("--preflight", help="Print time, dose, disk and limits; no beam.")]


class SessionOptions(TypedDict, total=False):
    """The options of every command that opens a session: the keyword arguments of ``open_session``."""

    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the specimen and of all chance; default: what is mounted, else 1."),
    ]
    sample: Annotated[
        str | None, typer.Option(help="Specimen to mount; default: what is mounted, else cathode_pillar.")
    ]
    fresh: Annotated[bool, typer.Option("--fresh", help="Mount a new specimen and forget the one in the instrument.")]
    clock: Clock
    operator: Operator
    hardware: Annotated[
        str,
        typer.Option(
            envvar="XRM_SIMS_HARDWARE",
            help="What to drive: twin, or epics:PREFIX for what xrm-sims ioc serves.",
        ),
    ]
    data: Data


_DEFAULTS = {"fresh": False, "clock": "fast", "operator": "", "hardware": "twin"}  # the others are None


def session_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of a session, except those named.

    The command takes them as ``**session: Unpack[SessionOptions]``; typer reads them from its signature.
    """

    def add_options(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        *own, _ = signature.parameters.values()
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=annotation)
            for name, annotation in get_type_hints(SessionOptions, include_extras=True).items()
            if name not in without
        ]
        command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return command

    return add_options
