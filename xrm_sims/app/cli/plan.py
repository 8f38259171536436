"""The command plan: compare measurement protocols before any beam is on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.cli.options import Data

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def plan(
    hours: Annotated[float | None, typer.Option(help="Longest time for the tomogram.")] = None,
    counts: Annotated[float | None, typer.Option(help="Fewest counts per pixel and view in the open beam.")] = None,
    resolution_nm: Annotated[float | None, typer.Option(help="Largest edge width of the tomogram.")] = None,
    current_na: Annotated[float | None, typer.Option(help="Electron current on the X-ray target.")] = None,
    target: Annotated[str, typer.Option(help="X-ray target: W, Cu or Cr.")] = "W",
    fov_um: Annotated[float, typer.Option(help="Width of the map.")] = 11.8,
    sims_counts: Annotated[float | None, typer.Option(help="Fewest counts of 58Ni per pixel of NCA.")] = None,
    depth_nm: Annotated[
        float | None, typer.Option(help="Largest depth that the map may sputter away; default: 50 nm.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write, with a picture beside it.")] = None,
    data: Data = None,
) -> None:
    """Compare measurement protocols before any beam is on.

    The table lists time, counts, noise, resolution and erosion of the paper's protocol, of faster ones and of yours.
    Nothing is measured. The settings are those of the data root.

    Example: xrm-sims plan --hours 8 --resolution-nm 280 --sims-counts 20 --out protocols.md
    """
    from xrm_sims.app.planner import Planner, Requirements, faster_protocols, find_protocol, paper_protocol
    from xrm_sims.app.planner.report import text
    from xrm_sims.app.session.hardware import session_settings
    from xrm_sims.data.layout import data_root

    settings = session_settings(data_root(data))
    required = Requirements(
        hours=hours,
        counts=counts,
        resolution_nm=resolution_nm,
        current_na=current_na,
        sims_counts=sims_counts,
        target=target,
        fov_um=fov_um,
        map_depth_nm=depth_nm,
    )
    planner = Planner(settings)
    known = [paper_protocol(settings, fov_um, target), *faster_protocols(settings, fov_um, target)]
    predictions = [planner.predict(each) for each in known]
    if required.any:
        predictions.append(find_protocol(planner, required))
    typer.echo(text(predictions, settings))
    if required.any:
        typer.echo("\n" + "\n".join(predictions[-1].protocol.commands(settings)))
    if out is not None:
        from xrm_sims.app.planner.report import write

        for path in write(planner, predictions, out):
            typer.echo(path)
