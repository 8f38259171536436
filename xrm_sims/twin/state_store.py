"""The twin's state on disk: a small state file, the specimen's surface beside it, and a lock.

After a kill at any moment the state file holds the state before or after the command. It names one of two folders with
the surface; a new surface is complete in the other folder before the state file names that one.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shutil
import socket
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from xrm_sims.atomic_write import sync
from xrm_sims.twin.two_slot_file import TwoSlotFile

Value = float | int | str | bool
_STATE, _LOCK = "state", "lock"
_SLOTS = ("surface-0", "surface-1")


class InstrumentInUse(RuntimeError):  # noqa: N818 (a state of the instrument rather than an error)
    """Another process uses this instrument; the message names it."""


@dataclass
class State:
    """Everything the instrument stores. ``wall_s`` is the wall time at which twin time was ``time_s``."""

    seed: int
    sample: str
    wall_s: float
    time_s: float = 0.0
    values: dict[str, dict[str, Any]] = field(default_factory=dict)  # by device
    since_s: dict[str, float] = field(default_factory=dict)  # twin time of the last change, by what changed
    counters: dict[str, int] = field(default_factory=dict)  # random draws so far, by purpose
    totals: dict[str, float] = field(default_factory=dict)  # doses and charges
    scan_frame: list[list[float]] = field(default_factory=lambda: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    frame_drift_um_per_s: list[float] = field(default_factory=lambda: [0.0, 0.0])
    scanning: list[Any] | None = None  # device, command and arguments of an unfinished scan
    moves_s: list[float] = field(default_factory=list)  # twin times of the last changes of mode and target
    surface: str | None = None  # folder with the specimen's surface; None while it is unmilled


class StateStore:
    """The state folder, locked by one process at a time.

    Raises :class:`InstrumentInUse` naming the process that holds the lock (a dead process holds none), and ValueError
    when the folder cannot be used.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._lock: BinaryIO | None = _hold(self.root / _LOCK)
            self._record = TwoSlotFile(self.root / _STATE)
        except OSError as error:
            raise ValueError(f"instrument {root}: its folder cannot be used ({error.strerror})") from error

    def load(self) -> State | None:
        """Return the stored state, None when there is none; ValueError when it is damaged."""
        content = self._record.read()
        if content is None:
            return None
        table, known = json.loads(content), {entry.name for entry in fields(State)}
        return State(**{name: value for name, value in table.items() if name in known})

    def save(self, state: State) -> None:
        """Write the state and return when it is on disk."""
        self._record.write(json.dumps(vars(state)).encode())

    def save_surface(self, state: State, arrays: dict[str, NDArray[Any]]) -> None:
        """Write surface and state, both or neither.

        Two folders are overwritten in turn. The first call creates both, so that a full disk does no harm later.
        """
        free = [slot for slot in _SLOTS if slot != state.surface]
        for slot in [slot for slot in free[1:] if not (self.root / slot).exists()] + free[:1]:
            self._write_surface(self.root / slot, arrays)
        before, state.surface = state.surface, free[0]
        try:
            self.save(state)
        except BaseException:
            state.surface = before
            raise

    def _write_surface(self, folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
        entries_changed = not folder.exists()
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.npy"):
            if path.stem not in arrays:  # of an earlier surface: a deposit that is milled away by now
                path.unlink()
                entries_changed = True
        for name, array in arrays.items():
            with open(os.open(folder / f"{name}.npy", os.O_RDWR | os.O_CREAT), "r+b") as file:
                np.save(file, array)
                file.truncate()
                file.flush()
                os.fdatasync(file.fileno())
        if entries_changed:
            sync(folder)
            sync(self.root)

    def load_surface(self, state: State) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of :meth:`save_surface`, None while the specimen is unmilled."""
        if state.surface is None:
            return None
        return {path.stem: np.load(path) for path in sorted((self.root / state.surface).glob("*.npy"))}

    def remove_stale_surfaces(self, state: State | None) -> None:
        """Delete folders of surfaces that no state names or will name."""
        for folder in self.root.glob("surface-*"):
            if state is None or folder.name not in (state.surface, *_SLOTS):
                shutil.rmtree(folder)

    def clear(self) -> None:
        """Erase state and surfaces."""
        self._record.clear()
        self.remove_stale_surfaces(None)

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._lock is not None:
            self._record.close()
            self._lock.close()
            self._lock = None


def _hold(path: Path) -> BinaryIO:
    """Lock ``path`` and write the name of this process into it."""
    lock = open(path, "a+b")  # noqa: SIM115 (open as long as the store)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().decode(errors="replace").strip() or "another process"
        lock.close()
        raise InstrumentInUse(
            f"instrument {path.parent}: held by {holder}; close it there or take another data root"
        ) from None
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    lock.truncate(0)
    lock.write(f"{getpass.getuser()}, pid {os.getpid()} on {socket.gethostname()} since {since}".encode())
    lock.flush()
    return lock
