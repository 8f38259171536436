"""How a file comes to its name: written beside, on disk, then renamed. Whatever goes wrong leaves nothing behind."""

from __future__ import annotations

import errno
import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import h5py

from xrm_sims.atomic_write import sync
from xrm_sims.data.frames import error_number, trim

Progress = Callable[[str, float], None]  # hears the stage and the finished share of it
HEADROOM_BYTES = 4 << 20  # what a file needs beside its numbers
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def library(name: str) -> ModuleType:
    """A library of the extra ``exchange``. RuntimeError with the command that installs it when it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise RuntimeError(
            f"{missing.name} is not installed, which this format needs; pip install 'xrm-sims[exchange]'"
        ) from None


@contextmanager
def appearing(path: Path, needed_bytes: int = 0, *, overwrite: bool = False) -> Iterator[Path]:
    """``with appearing(path) as beside:`` write a file or a folder there; it gets its name when the block ends well.

    Parameters
    ----------
    path : its final name; its folder is made.
    needed_bytes : asked of the disk before anything is written.
    overwrite : whether what has this name is replaced.

    Raises
    ------
    ValueError when the name is taken or the disk has too little room, RuntimeError when writing fails half-way.
    """
    path = path.resolve()
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: is there already; choose another name or add --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path, needed_bytes)
    except OSError as error:
        raise RuntimeError(f"{path}: its folder cannot be used ({error.strerror})") from error
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        _sync_all(beside)
        _rename(beside, path)
        sync(path.parent)
    except (OSError, RuntimeError) as error:
        number = error_number(error)
        if number is None and not isinstance(error, OSError):
            raise
        reason = str(error) if number is None else os.strerror(number)  # numpy tells how much was written, not why
        advice = "nothing of it was kept" if number and number not in _FULL else "free space and try again"
        raise RuntimeError(f"{path}: could not be written ({reason}); {advice}") from error
    finally:
        _remove(beside)


@contextmanager
def hdf5_with_room(path: Path, mode: str, needed_bytes: int) -> Iterator[h5py.File]:
    """An HDF5 file to write to. HDF5 does not survive a disk that fills up under it: so many bytes are taken from the
    file system before it touches them, and what was not used is given back."""
    with h5py.File(path, mode) as file:
        descriptor = file.id.get_vfd_handle()
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size + needed_bytes + HEADROOM_BYTES)
        yield file
    trim(path)


def _check_room(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed_bytes + HEADROOM_BYTES:
        raise ValueError(
            f"{path}: takes {(needed_bytes + HEADROOM_BYTES) / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB left; "
            "free space or choose another disk"
        )


def _rename(beside: Path, path: Path) -> None:
    """No folder takes another's place: the old one steps aside, and back if need be."""
    if not path.is_dir():
        beside.replace(path)
        return
    aside = beside.with_name(f"{beside.name}.old")
    path.replace(aside)
    try:
        beside.replace(path)
    except OSError:
        aside.replace(path)
        raise
    shutil.rmtree(aside)


def _sync_all(path: Path) -> None:
    """Returns when a file, or everything in a folder, is on disk."""
    for inner in sorted(path.rglob("*"), reverse=True) if path.is_dir() else ():
        sync(inner)
    sync(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
