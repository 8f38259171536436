"""Export of a run, and the table of formats."""

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
from xrm_sims.exchange.writing import Progress, atomic_path


@dataclass(frozen=True)
class Format:
    """Reader and writer of a format, suffix of its files, and disk space as a multiple of the data size."""

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
    """Write a run, or results computed from it, in another format; return the path of the file or folder.

    Parameters
    ----------
    uid : uid of the run, or its first five characters or more. All parts of its measurement are exported.
    to : one of ``FORMATS``. NXtomo and DataExchange take the frames of a tomography; image formats its volume, or the
        counts of a raster, an SE image or an EDS map; csv its tables.
    out : file to create (a folder for ome-zarr, raw and csv); default: a name from the run's uid, in this folder.
    licence : licence of the data; replaces that of the run.
    overwrite : whether an existing file of that name is replaced.
    progress : called with the stage and its finished share.

    Raises
    ------
    ValueError when the run lacks what the format needs, the name exists or the disk has too little space; RuntimeError
    when writing fails or a library is missing. Then no file has the final name.
    """
    if to not in FORMATS:
        raise ValueError(f"--to: needs one of {', '.join(FORMATS)}, got {to!r}")
    form = FORMATS[to]
    source = form.read(uid, data, licence)
    path = Path(f"{source.provenance.run_uids[0][:8]}{form.suffix}") if out is None else Path(out)
    with atomic_path(path, int(form.bulk * source.nbytes), overwrite=overwrite) as temporary:
        form.write(source, temporary, progress)
    return path
