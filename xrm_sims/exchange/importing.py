"""Import of foreign scans, volumes, maps and images into the catalogue.

A file is checked before anything is written; the run appears in journal and catalogue only when it is complete.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import record_whole
from xrm_sims.exchange.dataexchange import holds_dataexchange, read_dataexchange
from xrm_sims.exchange.foreign import ForeignScan
from xrm_sims.exchange.nexus import nxtomo_entries, read_nxtomo
from xrm_sims.exchange.runs import scan_documents
from xrm_sims.exchange.stacks import import_stack, is_stack
from xrm_sims.exchange.store import FrameFiles
from xrm_sims.exchange.writing import Progress


@dataclass(frozen=True)
class Choices:
    """Options of an import; they replace values of the file.

    link : link the frames instead of copying them into the data root.
    entry : path of the scan in an HDF5 file that holds several.
    pixel_um : pixel size at the specimen, for a parallel beam.
    axis_column : detector column, counted from 0, of the rotation axis.
    sidecar : description of a TIFF stack; default: the file of the same name with .yaml or .json.
    """

    link: bool = False
    entry: str | None = None
    pixel_um: float | None = None
    axis_column: float | None = None
    sidecar: Path | None = None
    sample_name: str | None = None
    operator: str | None = None
    licence: str | None = None

    def as_start(self) -> dict[str, Any]:
        """Return the keys of the start document that replace those of the file."""
        given = {"sample_name": self.sample_name, "licence": self.licence}
        return {"operator": self.operator or getpass.getuser()} | {key: text for key, text in given.items() if text}


def import_file(
    path: Path, data: Any = None, choices: Choices = Choices(), progress: Progress = lambda stage, share: None
) -> str:
    """Import an NXtomo or DataExchange file, a TIFF or a folder of TIFFs; return the uid of the new run.

    Raises
    ------
    ValueError when the file is missing, truncated, of another format or inconsistent; RuntimeError when the data root
    cannot be written. Then the catalogue is unchanged.
    """
    path = Path(path).resolve()
    if not path.exists():
        raise ValueError(f"{path}: does not exist")
    layout = Layout.of(data)
    if is_stack(path):
        return import_stack(path, layout, choices.sidecar, choices.as_start(), progress)
    scan = _read_scan(path, choices)
    geometry = scan.geometry(choices.pixel_um, choices.axis_column)
    with FrameFiles(layout) as files:
        places = {
            stream: files.link(scan, stream) if choices.link else files.copy(scan, stream, progress)
            for stream, frames in scan.frames.items()
            if len(frames.indices)
        }
        uid = record_whole(layout.root, scan_documents(scan, geometry, places, choices.as_start(), choices.link))
        files.keep()
    return uid


def _read_scan(path: Path, choices: Choices) -> ForeignScan:
    if path.is_dir() or not h5py.is_hdf5(path):
        raise ValueError(f"{path}: is neither HDF5 (NXtomo, DataExchange) nor TIFF; give one of these")
    with _errors_naming_file(path):
        if holds_dataexchange(path):
            scan = read_dataexchange(path)
        elif nxtomo_entries(path):
            scan = read_nxtomo(path, choices.entry)
        else:
            raise ValueError(f"{path}: has neither an NXtomo entry nor DataExchange's /exchange/data")
    for stream, what in (("primary", "projections"), ("flat", "flats")):
        if stream not in scan.frames or not len(scan.frames[stream].indices):
            raise ValueError(f"{path}: has no {what}; a scan needs them")
    return scan


@contextmanager
def _errors_naming_file(path: Path) -> Iterator[None]:
    """Raise errors of a format's library as a ValueError of one line that names the file."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if str(path) in str(error) or "pip install" in str(error):
            raise
        raise ValueError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    except (OSError, KeyError, TypeError, AttributeError, IndexError, AssertionError) as error:
        reason = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        raise ValueError(f"{path}: is damaged or has another layout ({reason})") from error
