"""How a file comes to its name: written beside, on disk, then renamed. It is whole or not there, power cut or not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> Path:
    """The whole file or none of it; the path. A private one can be read by its owner only."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)
    return path


def publish(beside: Path, path: Path) -> None:
    """Give a finished file its name, unless another process was first."""
    with contextlib.suppress(FileExistsError):
        os.link(beside, path)
    beside.unlink()


def sync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on disk: a new name is there only when its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
