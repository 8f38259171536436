"""The journal: one file per run with all its documents, each on disk before the RunEngine continues.

The JSON-lines file ``<run uid>.jsonl`` holds ``{"name": ..., "doc": ...}`` per line, the layout of bluesky's
``JSONLinesWriter``. That writer is not used because it never synchronises to the disk and mixes interleaved runs.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xrm_sims.atomic_write import sync, write_whole
from xrm_sims.data.frames import count_frames
from xrm_sims.data.run_summary import RunSummary

Document = tuple[str, dict[str, Any]]
_PARENT_KEYS = ("run_start", "descriptor", "stream_resource", "resource")
_TAIL_BYTES = 1 << 16


class Journal:
    """A callback ``(name, doc)`` for the RunEngine that returns when the document is on disk.

    A stream resource or stream datum that precedes its event is written at once, so it survives a crash of this
    process, and is synchronised together with the event, so both survive a power cut.

    Raises RuntimeError naming the file when the disk refuses. This ends the plan, because a run that cannot be stored
    must not continue.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, io.FileIO] = {}
        self._run_of: dict[str, str] = {}
        self._with_event: set[str] = set()  # external keys and resources whose frames have an event

    @property
    def open_runs(self) -> set[str]:
        """Uids of the runs that this journal started and has not stopped."""
        return set(self._files)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> tuple[str, bytes]:
        """Write a document and return the uid of its run and the line written."""
        run = self._run(name, doc)
        line = encode(name, doc)
        try:
            if name == "start":
                self._files[run] = open(journal_path(self.folder, run), "xb", buffering=0)  # noqa: SIM115
                sync(self.folder)
            _append(self._files[run], line, sync=not self._event_follows(name, doc))
        except OSError as error:
            raise RuntimeError(
                f"journal {journal_path(self.folder, run)}: the {name} document could not be written ({error.strerror})"
            ) from error
        finally:
            if name == "stop":
                self._with_event.clear()
                self._files.pop(run).close()
                self._run_of = {child: parent for child, parent in self._run_of.items() if parent != run}
        return run, line

    def close(self) -> None:
        """Close all files; runs without a stop document count as interrupted from now on."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._run_of.clear()

    def _event_follows(self, name: str, doc: Mapping[str, Any]) -> bool:
        if name == "descriptor":
            external = {key for key, about in doc["data_keys"].items() if "external" in about}
            self._with_event |= external if len(external) < len(doc["data_keys"]) else set()
        elif name == "stream_resource" and doc["data_key"] in self._with_event:
            self._with_event.add(doc["uid"])
            return True
        return name == "stream_datum" and doc["stream_resource"] in self._with_event

    def _run(self, name: str, doc: Mapping[str, Any]) -> str:
        if name == "start":
            return doc["uid"]
        parent = next(doc[key] for key in _PARENT_KEYS if doc.get(key))
        run = self._run_of.get(parent, parent)
        if run not in self._files:
            raise ValueError(f"journal: a {name} document belongs to {parent}, which has not begun or has ended")
        if "uid" in doc and name in ("descriptor", "stream_resource", "resource"):
            self._run_of[doc["uid"]] = run
        return run


def write_journal(folder: str | os.PathLike[str], documents: Iterable[Document]) -> Path:
    """Write the journal of a complete run in one step and return its path.

    Raises RuntimeError naming the file when the disk refuses.
    """
    lines = list(documents)
    path = journal_path(Path(folder), lines[0][1]["uid"])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, b"".join(encode(name, doc) for name, doc in lines))
    except OSError as error:
        raise RuntimeError(f"journal {path}: cannot be written ({error.strerror})") from error
    return path


def journal_path(folder: Path, run_uid: str) -> Path:
    return folder / f"{run_uid}.jsonl"


def journal_paths(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the journal files in the order of their runs' start times; the newest run comes last.

    Times of files are not used: copying or restoring a data root changes them. A file without a readable start
    document comes first.
    """
    return sorted(Path(folder).glob("*.jsonl"), key=lambda path: (_start_time(path), path.stem))


def read_starts(folder: str | os.PathLike[str]) -> dict[Path, dict[str, Any]]:
    """Return the start documents of all runs by journal file, oldest run first.

    Raises ValueError as :func:`read_journal` does.
    """
    return {path: start for path in journal_paths(folder) if (start := read_start(path))}


def encode(name: str, doc: Mapping[str, Any]) -> bytes:
    """Return the journal line of a document; numpy scalars and arrays become numbers and lists."""
    return json.dumps({"name": name, "doc": doc}, default=_plain, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Document:
    entry = json.loads(line)
    return entry["name"], entry["doc"]


def read_journal(path: str | os.PathLike[str]) -> Iterator[Document]:
    """Yield the documents of a journal file; a last line that a crash cut short is skipped.

    Raises ValueError naming file and line for any other line that is not a document.
    """
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decode(line)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"journal {path}: line {number} is not a document") from error


def follow_journal(path: str | os.PathLike[str]) -> Iterator[list[Document]]:
    """Yield the documents added since the last step, perhaps none, and end after the stop document.

    The caller sets the pace; the writer is not disturbed. Raises ValueError as :func:`read_journal` does.
    """
    with _open(path) as file:
        stopped, whole = False, 0
        while not stopped:
            file.seek(whole)
            block = file.read()
            whole += block.rfind(b"\n") + 1
            try:
                documents = [decode(line) for line in block.split(b"\n")[:-1]]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"journal {path}: a line before byte {whole} is not a document") from error
            stopped = any(name == "stop" for name, _ in documents)
            yield documents


def _open(path: str | os.PathLike[str]) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except OSError as error:
        raise ValueError(f"journal {path}: cannot be read ({error.strerror})") from error


def find_journal(folder: str | os.PathLike[str], run: str) -> Path:
    """Return the journal of the run whose uid begins with ``run``. Raises ValueError unless there is exactly one."""
    found = [path for path in Path(folder).glob("*.jsonl") if path.stem.startswith(run)]
    if len(found) != 1:
        what = "more than one run begins so" if found else "no such run"
        raise ValueError(f"run {run!r}: {what} in {Path(folder).parent}; give its uid")
    return found[0]


def read_start(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the start document of a journal; empty when the file does not hold a whole one."""
    return next((doc for name, doc in read_journal(path) if name == "start"), {})


def _start_time(path: Path) -> float:
    try:
        return float(read_start(path).get("time", -math.inf))
    except ValueError:
        return -math.inf


def interrupted_runs(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the journal files of runs without a stop document, oldest run first."""
    return [path for path in journal_paths(folder) if not _has_stopped(path) and any(read_journal(path))]


def close_interrupted(
    path: str | os.PathLike[str], reason: str = "interrupted", state: Mapping[str, Any] | None = None
) -> None:
    """Append the missing last documents to a run without a stop document; a last line cut short is removed.

    Added are: stream datums for frames that are in a file without one, in streams of frames alone (a raster); the
    instrument's ``state`` as the second event of ``baseline``; a stop document with exit status "fail".
    """
    run = RunSummary(read_journal(path))
    added = [*_unannounced_frames(run), *_last_state(run, state or {})]
    for name, doc in added:
        run(name, doc)
    stop = {
        "uid": str(uuid.uuid4()),
        "time": time.time(),
        "run_start": run.start_doc["uid"],
        "exit_status": "fail",
        "reason": reason,
        "num_events": dict(run.counts),
    }
    with open(path, "rb+") as file:
        file.truncate(_whole_lines(file))
        file.seek(0, os.SEEK_END)
        file.write(b"".join(encode(name, doc) for name, doc in [*added, ("stop", stop)]))
        file.flush()
        os.fsync(file.fileno())


def _unannounced_frames(run: RunSummary) -> Iterator[Document]:
    """Yield stream datums of whole frames at the end of a file, for streams that have no other data."""
    announced = {datum["stream_resource"]: datum["indices"]["stop"] for datum in run.datums}
    for resource, descriptor in itertools.product(run.resources.values(), run.descriptors.values()):
        known = announced.get(resource["uid"], 0)
        if list(descriptor["data_keys"]) == [resource["data_key"]] and (there := count_frames(resource)) > known:
            yield (
                "stream_datum",
                {
                    "uid": f"{resource['uid']}/{known}-{there}",
                    "stream_resource": resource["uid"],
                    "descriptor": descriptor["uid"],
                    "indices": {"start": known, "stop": there},
                    "seq_nums": {"start": known + 1, "stop": there + 1},
                },
            )


def _last_state(run: RunSummary, state: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the second event of ``baseline``, unless the run has it or lacks the first."""
    for descriptor in run.descriptors.values():
        keys = list(descriptor["data_keys"])
        if descriptor["name"] == "baseline" and run.counts["baseline"] == 1 and set(state) >= set(keys):
            yield (
                "event",
                {
                    "uid": str(uuid.uuid4()),
                    "time": time.time(),
                    "descriptor": descriptor["uid"],
                    "seq_num": 2,
                    "data": {key: state[key]["value"] for key in keys},
                    "timestamps": {key: state[key]["timestamp"] for key in keys},
                    "filled": {},
                },
            )


def _append(file: io.FileIO, line: bytes, sync: bool) -> None:
    """Write a line, on disk if ``sync``. When the disk is full, the part that was written is removed again."""
    end = file.tell()
    try:
        written = 0
        while written < len(line):  # a disk that becomes full accepts only a part
            written += file.write(line[written:]) or 0
        if sync:
            os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        file.seek(end)
        raise


def _has_stopped(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    return bool(lines) and lines[-1].startswith(b'{"name":"stop"') and lines[-1].endswith(b"\n")


def _whole_lines(file: io.BufferedRandom) -> int:
    """Return the length of the file up to its last newline."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        low = max(0, end - _TAIL_BYTES)
        file.seek(low)
        newline = file.read(end - low).rfind(b"\n")
        if newline >= 0:
            return low + newline + 1
        end = low
    return 0


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"journal: a document holds a {type(value).__name__}, which JSON cannot hold")
