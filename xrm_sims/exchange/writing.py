"""Write files and folders under a temporary name, synchronise and rename them; a failure leaves nothing."""

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

Progress = Callable[[str, float], None]  # called with the stage and its finished share
HEADROOM_BYTES = 4 << 20  # space of a file beside its numbers
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def library(name: str) -> ModuleType:
    """Import a library of the extra ``exchange``. Raises RuntimeError with the install command when it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise RuntimeError(
            f"{missing.name} is not installed and this format needs it; pip install 'xrm-sims[exchange]'"
        ) from None


@contextmanager
def atomic_path(path: Path, needed_bytes: int = 0, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path beside ``path`` to write a file or folder to; rename it to ``path`` when the block succeeds.

    Parameters
    ----------
    path : final name; its folder is created.
    needed_bytes : free space that is checked before writing.
    overwrite : whether an existing file or folder is replaced.

    Raises
    ------
    ValueError when the name exists or the disk has too little space, RuntimeError when writing fails.
    """
    path = path.resolve()
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: already exists; choose another name or add --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_free_space(path, needed_bytes)
    except OSError as error:
        raise RuntimeError(f"{path}: the folder cannot be used ({error.strerror})") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        for inner in sorted(temporary.rglob("*"), reverse=True) if temporary.is_dir() else ():
            sync(inner)
        sync(temporary)
        _rename(temporary, path)
        sync(path.parent)
    except (OSError, RuntimeError) as error:
        number = error_number(error)
        if number is None and not isinstance(error, OSError):
            raise
        reason = str(error) if number is None else os.strerror(number)  # numpy's message lacks the reason
        advice = "no part of it was kept" if number and number not in _DISK_FULL else "free space and try again"
        raise RuntimeError(f"{path}: could not be written ({reason}); {advice}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def preallocated_hdf5(path: Path, mode: str, needed_bytes: int) -> Iterator[h5py.File]:
    """Open an HDF5 file for writing with its space allocated in advance, because HDF5 cannot recover from a full disk;
    unused space is released at the end."""
    with h5py.File(path, mode) as file:
        descriptor = file.id.get_vfd_handle()
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size + needed_bytes + HEADROOM_BYTES)
        yield file
    trim(path)


def _check_free_space(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed_bytes + HEADROOM_BYTES:
        raise ValueError(
            f"{path}: takes {(needed_bytes + HEADROOM_BYTES) / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB left; "
            "free space or choose another disk"
        )


def _rename(temporary: Path, path: Path) -> None:
    """Rename a file or folder; first move an existing folder away, and move it back if renaming fails."""
    if not path.is_dir():
        temporary.replace(path)
        return
    aside = temporary.with_name(f"{temporary.name}.old")
    path.replace(aside)
    try:
        temporary.replace(path)
    except OSError:
        aside.replace(path)
        raise
    shutil.rmtree(aside)
