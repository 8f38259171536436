"""Commands that go on until Ctrl-C: what others connect to, and what looks over the shoulder of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from xrm_sims.app.cli.options import Data, ExistingData, SessionOptions, session_options
from xrm_sims.app.common.signals import Interrupted

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@session_options("operator", "hardware")
def ioc(
    prefix: Annotated[str, typer.Option(help="What the names of all process variables begin with.")] = ("XRM:"),
    **session: Unpack[SessionOptions],
) -> None:
    """Serve the twin over EPICS Channel Access, on the loopback interface unless EPICS_CAS_INTF_ADDR_LIST says more.

    Another terminal drives it: xrm-sims console --data ~/nanoct --hardware epics:XRM:

    Example: xrm-sims ioc --data ~/twin --prefix XRM:
    """
    from xrm_sims.app.session.ioc import serve_twin

    serve_twin(prefix=prefix, announce=typer.echo, **session)
    typer.echo("stopped; the instrument stays as it is", err=True)  # the usual end


@app.command()
def queue(
    redis: Annotated[str, typer.Option(help="Address of the Redis server.")] = "127.0.0.1:6379",
    port: Annotated[int, typer.Option(help="Port on the loopback interface that clients talk to.")] = 60615,
    data: Data = None,
) -> None:
    """Run bluesky's queue server on this data root until Ctrl-C; docs/queue.md says how to use it.

    Example: xrm-sims queue --redis 127.0.0.1:6379
    """
    from xrm_sims.app.night.queue_server import run_manager

    try:
        if code := run_manager(data, redis, port):
            raise typer.Exit(code)
    except Interrupted:
        typer.echo("stopped", err=True)  # the usual end


@app.command()
def live(
    run: Annotated[str, typer.Argument(help="Uid of a run or its first characters; latest: the one going on.")],
    out: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("live"),
    every_s: Annotated[float, typer.Option(help="Least time between two pictures.")] = 2.0,
    data: ExistingData = None,
) -> None:
    """Watch a scan that another process takes: its central slice as a picture that grows sharp, progress, time left.

    Example: xrm-sims live latest --data demo/data --out live
    """
    from xrm_sims.app.tomography.live import watch

    typer.echo(watch(run, data, out, every_s=every_s, announce=lambda line: typer.echo(line, err=True)))


@app.command()
def watch(
    port: Annotated[int, typer.Option(help="Port on the loopback interface; 0 takes a free one.")] = 8001,
    data: ExistingData = None,
) -> None:
    """Serve a page that shows how far the scan or the night is, with its last image; read only, asks nothing of it.

    Example: xrm-sims watch --data demo/data --port 8001
    """
    from xrm_sims.app.night.status_page import serve_status

    try:
        serve_status(data, port, typer.echo)
    except Interrupted:
        typer.echo("stopped", err=True)  # the usual end
