"""Folders and files of a data root."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from xrm_sims.atomic_write import publish, write_whole

HOST = "127.0.0.1"  # servers of a data root accept connections from this computer only


def data_root(data: str | os.PathLike[str] | None = None) -> Path:
    """Return the data root: the argument, else ``XRM_SIMS_DATA``, else a folder in the user's data directory."""
    chosen = data or os.environ.get("XRM_SIMS_DATA") or platformdirs.user_data_dir("xrm-sims", appauthor=False)
    return Path(chosen).expanduser().resolve()


@dataclass(frozen=True)
class Layout:
    """The folders of a data root, which are created at the first write."""

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
        """Databases, tables, arrays and API key of the catalogue."""
        return self.root / "tiled"

    @property
    def database(self) -> Path:
        """File with the URI of the PostgreSQL database; absent when the catalogue is in SQLite files."""
        return self.tiled / "database"

    @property
    def users(self) -> Path:
        """Names and password hashes of the people who may log in to a server of this data root."""
        return self.tiled / "users.json"

    @property
    def nights(self) -> Path:
        """One folder for each night: its sheet, record, log, summary and pictures."""
        return self.root / "nights"

    @property
    def pictures(self) -> Path:
        """Pictures of the console: ``live.png`` of the running scan, and one for each plotted run."""
        return self.root / "pictures"

    @property
    def queue(self) -> Path:
        """Lists of plans and devices that the queue server writes."""
        return self.root / "queue"

    @property
    def holds_data(self) -> bool:
        """Whether an instrument was opened or a run recorded here."""
        marks = (self.journal, self.tiled, self.root / "twin", self.root / "settings.toml")
        return any(mark.exists() for mark in marks)

    @property
    def server_record(self) -> Path:
        """File with the address of a running server of this data root."""
        return self.tiled / "server.json"


def api_key(layout: Layout) -> str:
    """Return the API key of this data root; the first call creates it, readable by its owner only."""
    return once_private(layout.tiled / "api_key")


def once_private(path: Path) -> str:
    """Return a random secret from a file that only its owner can read; the first call creates it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        publish(write_whole(beside, secrets.token_hex(32), private=True), path)
    return path.read_text()
