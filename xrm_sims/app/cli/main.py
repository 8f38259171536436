"""The command line: each command opens a session and runs one plan, or runs one computation.

Imports of large packages stand inside the commands, so that ``--help`` is fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from xrm_sims.app.cli import analyse, exchange, plan, services
from xrm_sims.app.cli.options import (
    SEED_HELP,
    AnalysisFile,
    Clock,
    Data,
    ExistingData,
    Operator,
    Preflight,
    SessionOptions,
    session_options,
    uid_of,
)
from xrm_sims.app.common.errors import keep_log, sentence
from xrm_sims.app.common.signals import Interrupted, on_stop_signals, stop_here

app = typer.Typer(
    name="xrm-sims",
    help="Correlative X-ray nanoCT and SIMS on one FIB-SEM. Start with: xrm-sims demo --out demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"xrm-sims {version('xrm-sims')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _measure(
    plan: Callable[..., Any],
    settings: dict[str, Any],
    *,
    only_preflight: bool,
    **session: Unpack[SessionOptions],
) -> None:
    """Estimate a plan; unless ``only_preflight``, also run it and print its uid."""
    import plans
    from xrm_sims.app.session.session import open_session

    with open_session(**session) as opened:
        expected = plans.preflight(opened.scope, plan, **settings)
        if only_preflight:
            typer.echo(expected)
        elif expected.ok:
            typer.echo(opened.run(plan(opened.scope, **settings)))
        if not expected.ok:
            raise ValueError("; ".join(expected.problems))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, summary.json and data.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 1,
    data: Data = None,
) -> None:
    """Run the whole experiment on the digital twin in minutes.

    It goes from the tomogram to the overlay of morphology and chemistry, with fewer detector pixels than the paper.

    Example: xrm-sims demo --out demo --seed 1
    """
    from xrm_sims.app.cli.demo import run_demo

    run_demo(out, seed=seed, data=data)


@app.command()
def validate(
    out: Annotated[Path, typer.Option(help="Folder for validation.md, pictures and data.")] = Path("validation"),
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 1,
    rows: Annotated[str, typer.Option(help="Names of the rows to measure, separated by commas; default: all.")] = "",
) -> None:
    """Compare the digital twin with the paper, row by row.

    Each row is one measurement and passes or fails. The exit code is 1 when a row fails.

    Example: xrm-sims validate --out validation --seed 1 --rows open_beam,transmission
    """
    from xrm_sims.app.validation import validate as run_rows

    keep_log(out)
    names = [name.strip() for name in rows.split(",") if name.strip()]
    if not all(row.passed for row in run_rows(out, seed=seed, names=names, announce=typer.echo)):
        raise typer.Exit(1)


@app.command()
@session_options()
def console(
    settings: AnalysisFile = None,
    **session: Unpack[SessionOptions],
) -> None:
    """Open IPython with RE, scope, plans and db.

    Example: xrm-sims console --data ~/nanoct
    """
    from xrm_sims.app.console.ipython import start_console

    start_console(settings=settings, **session)


@app.command()
@session_options()
def tomography(
    num: Annotated[int, typer.Option(help="Number of projections.")] = 1200,
    step_deg: Annotated[float, typer.Option(help="Angle between two projections.")] = 0.3,
    exposure_s: Annotated[float, typer.Option(help="Exposure time of one projection.")] = 90.0,
    binning: Annotated[int, typer.Option(help="Detector binning, 1 to 8.")] = 1,
    target: Annotated[str, typer.Option(help="X-ray target: W, Cu or Cr.")] = "W",
    preflight: Preflight = False,
    **session: Unpack[SessionOptions],
) -> None:
    """Measure a tomogram: darks, flats, projections, references.

    Example: xrm-sims tomography --num 120 --step-deg 3 --exposure-s 90 --binning 4
    """
    import plans

    _measure(
        plans.tomography,
        {"num": num, "step_deg": step_deg, "exposure_s": exposure_s, "binning": binning, "target": target},
        only_preflight=preflight,
        **session,
    )


@app.command()
@session_options()
def sims(
    fov_um: Annotated[float, typer.Option(help="Width of the mapped field.")] = 11.8,
    dwell_ms: Annotated[float, typer.Option(help="Dwell time per pixel.")] = 0.55,
    frames: Annotated[int, typer.Option(help="Number of frames.")] = 1,
    pixels: Annotated[int, typer.Option(help="Number of pixels along each side.")] = 512,
    bias_v: Annotated[float, typer.Option(help="Stage bias that extracts the secondary ions.")] = 500.0,
    channels: Annotated[
        str | None, typer.Option(help="Isotopes to count, such as 6Li,7Li,27Al,59Co; default: those of the settings.")
    ] = None,
    preflight: Preflight = False,
    **session: Unpack[SessionOptions],
) -> None:
    """Map isotopes with a raster of the gallium beam.

    All isotopes are counted at the same time; by default these are 7Li, 27Al, 58Ni and 59Co.

    Example: xrm-sims sims --fov-um 11.8 --dwell-ms 0.55 --frames 1
    """
    import plans

    isotopes = None if channels is None else [name.strip() for name in channels.split(",")]
    wanted = {"fov_um": fov_um, "dwell_ms": dwell_ms, "frames": frames, "bias_v": bias_v, "channels": isotopes}
    _measure(
        plans.sims_raster,
        {"shape": (pixels, pixels), **wanted},
        only_preflight=preflight,
        **session,
    )


@app.command()
@session_options("sample", "hardware")
def night(
    sheet: Annotated[Path, typer.Argument(help="Night sheet, a TOML file; docs/night.md describes it.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the sheet and print time, dose and disk space; no beam.")
    ] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Check the sheet and submit it to the queue server.")] = False,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", help="Start from the first step, also when an interrupted night of this sheet could be continued."
        ),
    ] = False,
    **session: Unpack[SessionOptions],
) -> None:
    """Run the steps of a night sheet unattended.

    The command writes a log and a summary for the morning. Its exit code is 1 when a step failed. If a night was
    interrupted or killed, the same command continues it and repeats no finished step.

    Example: xrm-sims night sheet.toml --dry-run
    """
    from xrm_sims.app.night.runner import rehearse, run_night
    from xrm_sims.app.night.sheet_file import SheetFile

    if dry_run or queue:
        file = SheetFile(sheet)
        typer.echo(rehearse(file, session["data"]))
        if queue and not dry_run:
            from xrm_sims.app.night.queue_server import submit

            typer.echo(submit(file))
    elif not run_night(sheet, anew=anew, announce=typer.echo, **session):
        raise typer.Exit(1)


@app.command()
def resume(
    run: Annotated[str, uid_of("an interrupted run, or of any part of it")],
    clock: Clock = "fast",
    operator: Operator = "",
    data: ExistingData = None,
) -> None:
    """Measure only what an interrupted run is missing.

    This works for a tomography, a raster, a milling or a deposition. The new run is linked to the first part.

    Example: xrm-sims resume 3f2a9 --data demo/data
    """
    from xrm_sims.app.session.resume import resume_run
    from xrm_sims.app.session.session import open_session

    with open_session(data, clock=clock, operator=operator) as session:
        plan = resume_run(session.scope, run, data, announce=lambda line: typer.echo(line, err=True))
        typer.echo(session.run(plan))


@app.command()
def recover(data: ExistingData = None) -> None:
    """After a crash, make the instrument and the data safe.

    Both beams are blanked, the target is parked, and runs in the journal are written into the catalogue.

    Example: xrm-sims recover --data demo/data
    """
    from xrm_sims.app.session.session import open_session

    with open_session(data, recover=False) as session:
        for line in session.recover():
            typer.echo(line)


@app.command()
def doctor(data: Data = None) -> None:
    """Check Python, libraries, threads, disk and data root.

    Example: xrm-sims doctor
    """
    from xrm_sims.app.cli.doctor import examine

    healthy = True
    for good, text in examine(data):
        typer.echo(f"[{'ok' if good else 'BAD'}] {text}")
        healthy &= good
    if not healthy:
        raise typer.Exit(1)


for module in (analyse, services, exchange, plan):
    app.add_typer(module.app)


def main() -> None:
    """Run the command; an error ends with one sentence on stderr and a non-zero exit code."""
    on_stop_signals(stop_here)
    try:
        app()
    except Interrupted as interruption:
        after_the_echo = "\n" if sys.stderr.isatty() else ""  # the terminal has just written ^C
        with suppress(OSError):  # the terminal may be gone
            print(f"{after_the_echo}xrm-sims: {interruption}", file=sys.stderr, flush=True)
            sys.stdout.flush()
        os._exit(130)  # sys.exit would wait for computations in other threads
    except Exception as error:
        print(f"xrm-sims: {sentence(error)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
