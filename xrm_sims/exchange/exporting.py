"""From the uid of a run to a file that others read: which formats there are and what each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrm_sims.exchange.dataexchange import write_dataexchange
from xrm_sims.exchange.images import read_image
from xrm_sims.exchange.movie import write_gif
from xrm_sims.exchange.nexus import write_nxtomo
from xrm_sims.exchange.ome_zarr import write_ome_zarr
from xrm_sims.exchange.raw import write_raw
from xrm_sims.exchange.scans import read_scan
from xrm_sims.exchange.tables import read_tables, write_tables
from xrm_sims.exchange.tiff import write_imagej, write_ome_tiff
from xrm_sims.exchange.writing import Progress, appearing


@dataclass(frozen=True)
class Format:
    """What a format takes of a run, how it is written, how its files end, how much disk it needs beside the numbers."""

    read: Callable[..., Any]
    write: Callable[[Any, Path, Progress], None]
    suffix: str
    bulk: float = 1.0


FORMATS = {
    "nxtomo": Format(read_scan, write_nxtomo, ".nx"),
    "dataexchange": Format(read_scan, write_dataexchange, ".h5"),
    "ome-tiff": Format(read_image, write_ome_tiff, ".ome.tif"),
    "imagej": Format(read_image, write_imagej, ".tif"),
    "ome-zarr": Format(read_image, write_ome_zarr, ".ome.zarr", bulk=4 / 3),
    "raw": Format(read_image, write_raw, "-raw"),
    "gif": Format(read_image, write_gif, ".gif", bulk=0.0),
    "csv": Format(read_tables, write_tables, "-tables"),
}


def export_run(
    uid: str,
    to: str,
    out: Path | None = None,
    data: Any = None,
    *,
    licence: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda stage, share: None,
) -> Path:
    """Write a run, or what was computed from it, in another format; the path of the file or folder.

    Parameters
    ----------
    uid : of the run, or its first five characters or more. It stands for all parts of its measurement.
    to : one of ``FORMATS``. NXtomo and DataExchange take the frames of a tomography; image formats its volume, or the
        counts of a raster, an SE image or an EDS map; csv its tables.
    out : file to make (a folder for ome-zarr, raw and csv); default a name from the run's uid, here.
    licence : under which the data may be used, over what the run states.
    overwrite : whether a file of that name is replaced.
    progress : called with the stage and the finished share of it.

    Raises
    ------
    ValueError in one sentence when the run has not got what the format takes, the name is taken or the disk too full;
    RuntimeError when writing fails or a library is missing. Nothing is left under the final name then.
    """
    if to not in FORMATS:
        raise ValueError(f"--to: needs one of {', '.join(FORMATS)}, got {to!r}")
    form = FORMATS[to]
    source = form.read(uid, data, licence)
    path = Path(f"{source.about.run_uids[0][:8]}{form.suffix}") if out is None else Path(out)
    with appearing(path, int(form.bulk * source.nbytes), overwrite=overwrite) as beside:
        form.write(source, beside, progress)
    return path
