"""Where things lie: one data root, one folder for each kind of thing in it."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from xrm_sims.atomic_write import publish, write_whole

HOST = "127.0.0.1"  # what serves a data root listens to this computer only


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
    def database(self) -> Path:
        """URI of the catalogue's PostgreSQL database, where it is not in SQLite files."""
        return self.tiled / "database"

    @property
    def users(self) -> Path:
        """Who may log in to a server of this data root, with hashes of their passwords."""
        return self.tiled / "users.json"

    @property
    def nights(self) -> Path:
        """One folder for each night: its sheet, record, log, summary and pictures."""
        return self.root / "nights"

    @property
    def pictures(self) -> Path:
        """What the console draws: ``live.png`` of the scan that goes on, and a picture for each run asked for."""
        return self.root / "pictures"

    @property
    def queue(self) -> Path:
        """What the queue server notes of this root's plans and devices."""
        return self.root / "queue"

    @property
    def holds_data(self) -> bool:
        """Whether an instrument was ever opened, or a run recorded here."""
        marks = (self.journal, self.tiled, self.root / "twin", self.root / "settings.toml")
        return any(mark.exists() for mark in marks)

    @property
    def server_record(self) -> Path:
        """Where a running server of this data root says how to reach it."""
        return self.tiled / "server.json"


def api_key(layout: Layout) -> str:
    """The key of this data root, made once and readable by its owner only."""
    return once_private(layout.tiled / "api_key")


def once_private(path: Path) -> str:
    """A random secret in a file of its owner's, made by whoever asks first."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        publish(write_whole(beside, secrets.token_hex(32), private=True), path)
    return path.read_text()
