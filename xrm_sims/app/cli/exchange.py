"""The commands export, import and report: data for and from other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.cli.options import Data, ExistingData, uid_of

DATASET = "dataset"

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def export(
    runs: Annotated[
        list[str],
        uid_of("each run (several only for a dataset)"),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Format: nxtomo or dataexchange (frames of a tomography); ome-tiff, imagej, ome-zarr, raw or gif "
            "(volume of a tomography, counts of a raster or image); csv (tables); dataset (volumes, maps, labels).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; a folder for ome-zarr, raw and csv. Default: named by the uid."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the data, such as CC-BY-4.0; default: that of the run.")
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option(help="Dataset with or without the true labels of the twin; default: with them if known."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    data: ExistingData = None,
) -> None:
    """Write a run or its results for other programs.

    These are Fiji, Avizo, silx, napari, TomoPy and spreadsheets; docs/exchange.md lists the formats.

    Example: xrm-sims export 3f2a9 --to ome-tiff --out volume.ome.tif
    """
    from xrm_sims.app.common.progress import stages
    from xrm_sims.exchange import FORMATS, export_run

    if to not in (*FORMATS, DATASET):
        raise ValueError(f"--to: needs one of {', '.join((*FORMATS, DATASET))}, got {to!r}")
    if to != DATASET and len(runs) > 1:
        raise ValueError(f"--to {to}: takes one run, got {len(runs)}; several go into a {DATASET}")
    if to != DATASET and labels is not None:
        raise ValueError(f"--to {to}: --labels has no meaning, only a {DATASET} has labels")
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
            help="Uid of an experiment or of one of its runs, or its first five characters; latest: the newest."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write. Default: report-UID.html in this folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    data: ExistingData = None,
) -> None:
    """Write an HTML page about an experiment.

    It shows the timeline, slices, ROIs, maps, the registration and the settings, and needs no network.

    Example: xrm-sims report latest --data demo/data --out report.html
    """
    from xrm_sims.app.common.progress import stages
    from xrm_sims.app.report import write_report

    with stages() as progress:
        path = write_report(experiment, data, out, overwrite=overwrite, progress=progress)
    typer.echo(path)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="NXtomo, DataExchange, a TIFF file or a folder of TIFF files.")],
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Read the frames from their file, or copy them into the data root.")
    ] = False,
    entry: Annotated[str | None, typer.Option(help="Name of the NXtomo entry, if the file holds several.")] = None,
    pixel_um: Annotated[float | None, typer.Option(help="Pixel size at the specimen, for a parallel beam.")] = None,
    axis_column: Annotated[
        float | None, typer.Option(help="Detector column of the rotation axis; default: the middle.")
    ] = None,
    sidecar: Annotated[
        Path | None, typer.Option(help="YAML file that describes a TIFF stack; default: its name with .yaml.")
    ] = None,
    sample_name: Annotated[str | None, typer.Option(help="Name of the sample.")] = None,
    operator: Annotated[str | None, typer.Option(help="Name of the operator; default: the user.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")] = None,
    data: Data = None,
) -> None:
    """Import scans, CT volumes, SE images and SIMS maps.

    The data become a run of the catalogue, whose uid is printed.

    Example: xrm-sims import tooth.h5 --pixel-um 1.0 --axis-column 296
    """
    from xrm_sims.app.common.progress import stages
    from xrm_sims.exchange import import_file
    from xrm_sims.exchange.importing import Choices

    choices = Choices(link, entry, pixel_um, axis_column, sidecar, sample_name, operator, licence)
    with stages() as progress:
        uid = import_file(file, data, choices, progress)
    typer.echo(uid)
