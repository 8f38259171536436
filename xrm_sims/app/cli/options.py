"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_type_hints

import typer

from xrm_sims.app.common.errors import keep_log

SEED_HELP = "Seed of the specimen and of all random numbers."


def uid_of(what: str) -> Any:
    """Return an argument that names a run."""
    return typer.Argument(help=f"Uid of {what}; its first five characters are enough.")


def _data(data: Path | None) -> Path | None:
    keep_log(data)
    return data


def existing_data(data: Path | None) -> Path:
    """Return the data root of a command that reads. ValueError when it does not exist or holds no runs."""
    from xrm_sims.data.layout import Layout, data_root

    root = data_root(data)
    if not root.is_dir():
        raise ValueError(f"data root {root} does not exist; name another with --data, or measure something first")
    if not Layout(root).holds_data:
        raise ValueError(f"data root {root} holds no runs; name another with --data, or measure something first")
    _data(root)
    return root


_DATA_HELP = "Folder of the data; default: XRM_SIMS_DATA, else a folder in the user's data directory."
Data = Annotated[Path | None, typer.Option("--data", help=_DATA_HELP, callback=_data)]
ExistingData = Annotated[Path | None, typer.Option("--data", help=_DATA_HELP, callback=existing_data)]
Clock = Annotated[
    str, typer.Option("--clock", help="Time of the twin: fast (no waiting), real, or a factor such as 3600.")
]
Operator = Annotated[str, typer.Option("--operator", help="Name of the operator; recorded in every run.")]
AnalysisFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file with settings of the analysis; overrides settings.toml of the data."),
]
Preflight = Annotated[bool, typer.Option("--preflight", help="Only print time, dose, disk space and limits; no beam.")]


class SessionOptions(TypedDict, total=False):
    """The options of every command that opens a session: the keyword arguments of ``open_session``."""

    seed: Annotated[
        int | None,
        typer.Option(help=f"{SEED_HELP[:-1]}; default: that of the mounted specimen, else 1."),
    ]
    sample: Annotated[
        str | None, typer.Option(help="Specimen to mount; default: the mounted one, else cathode_pillar.")
    ]
    fresh: Annotated[bool, typer.Option("--fresh", help="Mount a new specimen and delete the one in the instrument.")]
    clock: Clock
    operator: Operator
    hardware: Annotated[
        str,
        typer.Option(
            envvar="XRM_SIMS_HARDWARE",
            help="Hardware to control: twin, or epics:PREFIX for an instrument that xrm-sims ioc serves.",
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
