"""Commands that give the catalogue to others."""

from __future__ import annotations

from typing import Annotated

import typer

from xrm_sims.app.cli.options import Data, ExistingData
from xrm_sims.app.common.signals import Interrupted

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def serve(
    data: ExistingData = None,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    users: Annotated[bool, typer.Option("--users", help="People log in (xrm-sims add-user) and read.")] = False,
    host: Annotated[str, typer.Option(help="Interface to listen to; others need --users.")] = "127.0.0.1",
) -> None:
    """Serve the catalogue with Tiled; the browser finds it at /ui/ (docs/browsing.md).

    Example: xrm-sims serve --data demo/data
    """
    from xrm_sims.data.server import serve_forever

    try:
        serve_forever(data, port=port, users=users, host=host, announce=typer.echo)
    except Interrupted:
        typer.echo("stopped", err=True)  # the usual end


@app.command()
def add_user(
    name: Annotated[str, typer.Argument(help="Name to log in with.")],
    admin: Annotated[bool, typer.Option("--admin", help="May change and delete, too.")] = False,
    data: Data = None,
) -> None:
    """Let somebody log in to xrm-sims serve --users, or change a password; the server need not be stopped.

    Example: xrm-sims add-user ada --data ~/nanoct
    """
    from xrm_sims.data.layout import Layout
    from xrm_sims.data.users import add_user as add

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    add(Layout.of(data), name, password, admin=admin)
    typer.echo(f"{name} may log in")


@app.command()
def move_catalogue(
    uri: Annotated[str, typer.Argument(help="Of an empty database: postgresql://user@host/name")],
    data: ExistingData = None,
) -> None:
    """Bring the catalogue from SQLite files into a PostgreSQL database, which every process uses from then on.

    Example: xrm-sims move-catalogue postgresql://xrm@127.0.0.1/nanoct --data demo/data
    """
    from xrm_sims.data.moving import move_catalogue as move

    count = move(data, uri, lambda line: typer.echo(line, err=True))
    typer.echo(f"{count} runs and their results are in the database now")
