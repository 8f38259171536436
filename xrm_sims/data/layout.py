"""Where things lie: one data root, one folder for each kind of thing in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


def data_root(data: str | os.PathLike[str] | None = None) -> Path:
    """The data root: the argument, else ``XRM_SIMS_DATA``, else a folder in the user's data directory."""
    chosen = data or os.environ.get("XRM_SIMS_DATA") or platformdirs.user_data_dir("xrm-sims", appauthor=False)
    return Path(chosen).expanduser().resolve()


@dataclass(frozen=True)
class Layout:
    """The folders of a data root; they are made when somebody writes."""

    root: Path

    @classmethod
    def of(cls, data: str | os.PathLike[str] | None = None) -> Layout:
        return cls(data_root(data))

    @property
    def frames(self) -> Path:
        """HDF5 files of the detectors."""
        return self.root / "frames"

    @property
    def journal(self) -> Path:
        """One JSON-lines file for each run."""
        return self.root / "journal"

    @property
    def tiled(self) -> Path:
        """What the catalogue writes itself: databases, tables, arrays, its key."""
        return self.root / "tiled"

    @property
    def server_record(self) -> Path:
        """Where a running server of this data root says how to reach it."""
        return self.tiled / "server.json"
