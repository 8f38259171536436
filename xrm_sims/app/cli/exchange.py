"""The commands export, import and report: what comes in from others and goes out to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.cli.options import Data, ExistingData

DATASET = "dataset"

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def export(
    runs: Annotated[
        list[str],
        typer.Argument(help="Uid of a run, or its first five characters or more; of several runs, for a dataset."),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="nxtomo or dataexchange (frames of a tomography); ome-tiff, imagej, ome-zarr, raw or gif (its volume, "
            "or the counts of a raster or image); csv (its tables); dataset (volumes and maps with the twin's truth).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to make; a folder for ome-zarr, raw and csv. Default: named by the uid."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the data, such as CC-BY-4.0; default: as the run says.")
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option(help="Of a dataset: the twin's truth or none; default: where known."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what has this name.")] = False,
    data: ExistingData = None,
) -> None:
    """Write a run, or what was computed from it, for other programs: Fiji, Avizo, silx, napari, TomoPy, spreadsheets.

    Example: xrm-sims export 3f2a9 --to ome-tiff --out volume.ome.tif
    """
    from xrm_sims.app.common.progress import stages
    from xrm_sims.exchange import FORMATS, export_run

    if to not in (*FORMATS, DATASET):
        raise ValueError(f"--to: needs one of {', '.join((*FORMATS, DATASET))}, got {to!r}")
    if to != DATASET and len(runs) > 1:
        raise ValueError(f"--to {to}: takes one run, got {len(runs)}; several go into a {DATASET}")
    if to != DATASET and labels is not None:
        raise ValueError(f"--to {to}: --labels has no meaning, only a {DATASET} holds the truth")
    with stages() as progress:
        if to == DATASET:
            from xrm_sims.app.validation.dataset import export_dataset
            from xrm_sims.data.layout import data_root

            path = export_dataset(
                runs,
                out or Path(DATASET),
                data_root(data),
                labels=labels,
                licence=licence,
                overwrite=overwrite,
                progress=progress,
            )
        else:
            path = export_run(runs[0], to, out, data, licence=licence, overwrite=overwrite, progress=progress)
    typer.echo(path)


@app.command()
def report(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Uid of an experiment, or of any run of it, or its first five characters or more; latest: the newest."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to make. Default: report-UID.html, here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what has this name.")] = False,
    data: ExistingData = None,
) -> None:
    """Write one HTML page about an experiment: timeline, slices, ROIs, maps, registration, settings; works offline.

    Example: xrm-sims report latest --data demo/data --out report.html
    """
    from xrm_sims.app.common.progress import stages
    from xrm_sims.app.report import write_report

    with stages() as progress:
        path = write_report(experiment, data, out, overwrite=overwrite, progress=progress)
    typer.echo(path)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="NXtomo, DataExchange, a TIFF, or a folder of TIFFs.")],
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Leave the frames of a scan where they are, or copy them here.")
    ] = False,
    entry: Annotated[str | None, typer.Option(help="Which NXtomo, in a file that holds several.")] = None,
    pixel_um: Annotated[float | None, typer.Option(help="Pixel as seen at the specimen, in a parallel beam.")] = None,
    axis_column: Annotated[
        float | None, typer.Option(help="Detector column of the rotation axis; default: the middle.")
    ] = None,
    sidecar: Annotated[
        Path | None, typer.Option(help="What describes a TIFF stack; default: its name with .yaml.")
    ] = None,
    sample_name: Annotated[str | None, typer.Option(help="Name of the sample.")] = None,
    operator: Annotated[str | None, typer.Option(help="Who imports; default: the user.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")] = None,
    data: Data = None,
) -> None:
    """Bring what others measured into the catalogue: scans, CT volumes, SE images, SIMS maps; prints the run's uid.

    Example: xrm-sims import tooth.h5 --pixel-um 1.0 --axis-column 296
    """
    from xrm_sims.app.common.progress import stages
    from xrm_sims.exchange import import_file
    from xrm_sims.exchange.importing import Choices

    choices = Choices(link, entry, pixel_um, axis_column, sidecar, sample_name, operator, licence)
    with stages() as progress:
        uid = import_file(file, data, choices, progress)
    typer.echo(uid)
