"""Commands that run until Ctrl-C, and those that manage the catalogue server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Unpack

import typer

from xrm_sims.app.cli.options import Data, ExistingData, SessionOptions, session_options
from xrm_sims.app.common.signals import Interrupted

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Treat Ctrl-C as the usual end of a server."""
    try:
        yield
    except Interrupted:
        typer.echo("stopped", err=True)


@app.command()
@session_options("operator", "hardware")
def ioc(
    prefix: Annotated[str, typer.Option(help="Prefix of the names of all process variables.")] = "XRM:",
    **session: Unpack[SessionOptions],
) -> None:
    """Serve the digital twin over EPICS Channel Access.

    The server listens on the loopback interface unless EPICS_CAS_INTF_ADDR_LIST names others. In another terminal,
    xrm-sims console --data ~/nanoct --hardware epics:XRM: controls it.

    Example: xrm-sims ioc --data ~/twin --prefix XRM:
    """
    from xrm_sims.app.session.ioc import serve_twin

    serve_twin(prefix=prefix, announce=typer.echo, **session)
    typer.echo("stopped; the instrument stays as it is", err=True)


@app.command()
def queue(
    redis: Annotated[str, typer.Option(help="Address of the Redis server.")] = "127.0.0.1:6379",
    port: Annotated[int, typer.Option(help="Port on the loopback interface for clients.")] = 60615,
    data: Data = None,
) -> None:
    """Run Bluesky's queue server on a data root until Ctrl-C.

    docs/queue.md describes its use.

    Example: xrm-sims queue --redis 127.0.0.1:6379
    """
    from xrm_sims.app.night.queue_server import run_manager

    with _until_stopped():
        if code := run_manager(data, redis, port):
            raise typer.Exit(code)


@app.command()
def live(
    run: Annotated[
        str, typer.Argument(help="Uid or first characters of a run; latest: the running scan, else the next one.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("live"),
    every_s: Annotated[float, typer.Option(help="Shortest time between two pictures.")] = 2.0,
    data: ExistingData = None,
) -> None:
    """Reconstruct a scan while another process measures it.

    The central slice is drawn again and again while views arrive; progress and the time left are printed.

    Example: xrm-sims live latest --data demo/data --out live
    """
    from xrm_sims.app.tomography.live import watch

    typer.echo(watch(run, data, out, every_s=every_s, announce=lambda line: typer.echo(line, err=True)))


@app.command()
def watch(
    port: Annotated[int, typer.Option(help="Port on the loopback interface; 0 takes a free one.")] = 8001,
    data: ExistingData = None,
) -> None:
    """Serve a web page with the progress of a scan or a night.

    The page also shows the last image. It only reads files and does not disturb the measurement.

    Example: xrm-sims watch --data demo/data --port 8001
    """
    from xrm_sims.app.night.status_page import serve_status

    with _until_stopped():
        serve_status(data, port, typer.echo)


@app.command()
def serve(
    data: ExistingData = None,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    users: Annotated[bool, typer.Option("--users", help="Require a log-in; xrm-sims add-user adds users.")] = False,
    host: Annotated[str, typer.Option(help="Network interface to listen on; others need --users.")] = "127.0.0.1",
) -> None:
    """Serve the catalogue with Tiled.

    A browser opens it at /ui/; docs/browsing.md describes its use.

    Example: xrm-sims serve --data demo/data
    """
    from xrm_sims.data.server import serve_forever

    with _until_stopped():
        serve_forever(data, port=port, users=users, host=host, announce=typer.echo)


@app.command()
def add_user(
    name: Annotated[str, typer.Argument(help="Login name.")],
    admin: Annotated[bool, typer.Option("--admin", help="This user may also change and delete data.")] = False,
    data: Data = None,
) -> None:
    """Add a user of the Tiled server, or change a password.

    This is for xrm-sims serve --users, which may keep running.

    Example: xrm-sims add-user ada --data ~/nanoct
    """
    from xrm_sims.data.layout import Layout
    from xrm_sims.data.users import add_user as add

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    add(Layout.of(data), name, password, admin=admin)
    typer.echo(f"{name} may log in")


@app.command()
def move_catalogue(
    uri: Annotated[str, typer.Argument(help="Address of an empty database: postgresql://user@host/name")],
    data: ExistingData = None,
) -> None:
    """Move the catalogue from SQLite files to PostgreSQL.

    From then on every process uses the database.

    Example: xrm-sims move-catalogue postgresql://xrm@127.0.0.1/nanoct --data demo/data
    """
    from xrm_sims.data.moving import move_catalogue as move

    count = move(data, uri, lambda line: typer.echo(line, err=True))
    typer.echo(f"{count} runs and their results are now in the database")
