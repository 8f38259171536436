"""Commands that give the catalogue to others."""

from __future__ import annotations

from typing import Annotated

import typer

from xrm_sims.app.options import ExistingData
from xrm_sims.app.stopping import Interrupted

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def serve(
    data: ExistingData = None,
    port: Annotated[int, typer.Option("--port", help="Port on the loopback interface; 0 takes a free one.")] = 8000,
) -> None:
    """Serve the catalogue with Tiled; the browser finds it at /ui/ (docs/browsing.md).

    Example: xrm-sims serve --data demo/data
    """
    from xrm_sims.data.server import serve_forever

    try:
        serve_forever(data, port=port, announce=typer.echo)
    except Interrupted:
        typer.echo("stopped", err=True)  # the usual end


@app.command()
def move_catalogue(
    uri: Annotated[str, typer.Argument(help="Of an empty database: postgresql://user@host/name")],
    data: ExistingData = None,
) -> None:
    """Bring the catalogue from SQLite files into a PostgreSQL database, which every process uses from then on.

    Example: xrm-sims move-catalogue postgresql://xrm@127.0.0.1/nanoct --data ~/nanoct
    """
    from xrm_sims.data.moving import move_catalogue as move

    count = move(data, uri, lambda line: typer.echo(line, err=True))
    typer.echo(f"{count} runs and their results are in the database now")
