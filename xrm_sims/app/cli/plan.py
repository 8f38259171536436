"""The command plan: protocols side by side before any beam is on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.cli.options import Data

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def plan(
    hours: Annotated[float | None, typer.Option(help="Time for the tomogram, at most.")] = None,
    counts: Annotated[float | None, typer.Option(help="Counts per pixel and view in the open beam, at least.")] = None,
    resolution_nm: Annotated[float | None, typer.Option(help="Edge width of the tomogram, at most.")] = None,
    current_na: Annotated[float | None, typer.Option(help="Electron current on the X-ray target.")] = None,
    target: Annotated[str, typer.Option(help="X-ray target: W, Cu or Cr.")] = "W",
    fov_um: Annotated[float, typer.Option(help="Width of the map.")] = 11.8,
    sims_counts: Annotated[float | None, typer.Option(help="Counts of 58Ni per pixel of NCA, at least.")] = None,
    depth_nm: Annotated[float | None, typer.Option(help="What the map may consume; default: 50 nm.")] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to make, with a picture beside it.")] = None,
    data: Data = None,
) -> None:
    """Weigh protocols: time, counts, noise, resolution, erosion, and what is lost; the paper's, faster ones, yours.

    Nothing is measured. The settings are those of the data root.

    Example: xrm-sims plan --hours 8 --resolution-nm 280 --sims-counts 20 --out protocols.md
    """
    from xrm_sims.app.planner import Planner, Wishes, faster_ones, fulfil, paper
    from xrm_sims.app.planner.report import text
    from xrm_sims.app.session.hardware import session_settings
    from xrm_sims.data.layout import data_root

    settings = session_settings(data_root(data))
    wishes = Wishes(
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
    known = [paper(settings, fov_um, target), *faster_ones(settings, fov_um, target)]
    outlooks = [planner.outlook(each) for each in known]
    if wishes.any:
        outlooks.append(fulfil(planner, wishes))
    typer.echo(text(outlooks, settings))
    if wishes.any:
        typer.echo("\n" + "\n".join(outlooks[-1].protocol.commands(settings)))
    if out is not None:
        from xrm_sims.app.planner.report import write

        for path in write(planner, outlooks, out):
            typer.echo(path)
