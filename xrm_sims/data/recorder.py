"""Recording of runs: first into the journal, then into the catalogue.

Acquisition waits for the journal only. A separate thread writes the catalogue, which may be slow, fail or disappear:
runs that it missed are copied from the journal later.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xrm_sims.data.catalog import note_recorder, open_catalog
from xrm_sims.data.journal import (
    Journal,
    close_interrupted,
    decode,
    interrupted_runs,
    journal_path,
    journal_paths,
    read_journal,
    write_journal,
)
from xrm_sims.data.layout import Layout

logger = logging.getLogger(__name__)
BATCH_SIZE = 200
RETRY_S = 30.0
TAKEN = "taken.txt"  # beside the journals: uids of the runs that are in the catalogue
_REPLAY_BATCH = 10_000


class Recorder:
    """A callback ``(name, doc)`` for the RunEngine.

    Parameters
    ----------
    data : the data root.
    batch_size : events per write to the catalogue. A large number is cheap for fast events; 1 shows each event at once
        and suits exposures of seconds.
    retry_s : seconds between a failure of the catalogue and the next attempt to write the run into it from the journal,
        also during the run.
    """

    def __init__(
        self, data: str | os.PathLike[str] | None = None, batch_size: int = BATCH_SIZE, retry_s: float = RETRY_S
    ) -> None:
        self.layout = Layout.of(data)
        self.journal = Journal(self.layout.journal)
        self.batch_size = batch_size
        self.retry_s = retry_s
        self._queue: queue.Queue[tuple[str, int, bytes] | None] = queue.Queue()
        self._written: Counter[str] = Counter()  # lines in the journal of each open run
        self._brought: dict[str, int] = {}  # lines of each run that _catch_up copied
        self._writers: dict[str, Any] = {}
        self._behind: set[str] = set()
        self._failed_s = 0.0
        self._thread: threading.Thread | None = None
        note_recorder(self.layout.root, self.flush)

    @property
    def behind(self) -> set[str]:
        """Uids of runs that are complete in the journal and missing in the catalogue."""
        return set(self._behind)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        run, line = self.journal(name, doc)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="catalogue-writer", daemon=True)
            self._thread.start()
        self._queue.put((run, self._written[run], line))
        self._written[run] += 1
        if name == "stop":
            del self._written[run]

    def flush(self) -> set[str]:
        """Wait until all ended runs are in the catalogue; return the uids of those that could not be written."""
        self._queue.join()
        for run in self._behind - self.journal.open_runs:
            self._catch_up(run)
        return self.behind

    def close(self) -> None:
        """Flush, end the thread and close the journal. The catalogue stays readable."""
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self.journal.close()
        note_recorder(self.layout.root, None)

    def replay(self, state: Mapping[str, Any] | None = None) -> list[str]:
        """Copy missing runs from the journal into the catalogue, see :func:`replay`, except open runs of this recorder.

        Only the process that drives the instrument may call this.
        """
        self._queue.join()
        return replay(self.layout.journal, open_catalog(self.layout.root), running=self.journal.open_runs, state=state)

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            run, number, line = entry
            name, doc = decode(line)
            try:
                if run in self._behind:
                    if name == "stop" or time.monotonic() - self._failed_s >= self.retry_s:
                        self._catch_up(run)
                elif number >= self._brought.get(run, 0):
                    self._write(run, name, doc)
            except Exception as error:  # a failing catalogue must not stop acquisition
                self._fall_behind(run, error)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _write(self, run: str, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._writers[run] = _writer(open_catalog(self.layout.root), self.batch_size)
        self._writers[run](name, doc)
        if name == "stop":
            del self._writers[run]
            self._brought.pop(run, None)
            _note_taken(self.layout.journal, run)

    def _catch_up(self, run: str) -> None:
        """Write the run again from its journal up to its last line. Queued documents among these lines are skipped."""
        try:
            writer = _writer(open_catalog(self.layout.root), self.batch_size)
            told = _bring_in(journal_path(self.layout.journal, run), open_catalog(self.layout.root), writer)
            if told[-1:] == ["stop"]:
                self._brought.pop(run, None)
            else:
                self._writers[run], self._brought[run] = writer, len(told)
            self._behind.discard(run)
        except Exception as error:
            self._fall_behind(run, error)

    def _fall_behind(self, run: str, error: Exception) -> None:
        self._writers.pop(run, None)
        self._behind.add(run)
        self._failed_s = time.monotonic()
        logger.warning("run %s: the catalogue failed (%s); the run is stored in the journal", run, error)


def record_whole(data: str | os.PathLike[str] | None, documents: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Record a complete run, such as an imported one, in the journal and the catalogue; return its uid.

    If the catalogue fails, the run is copied from the journal later. Raises RuntimeError when the journal cannot be
    written; then nothing of the run is stored.
    """
    layout = Layout.of(data)
    path = write_journal(layout.journal, documents)
    try:
        catalog = open_catalog(layout.root)
        _bring_in(path, catalog, _writer(catalog, _REPLAY_BATCH))
    except Exception as error:
        logger.warning("run %s: the catalogue failed (%s); the run is stored in the journal", path.stem, error)
    return path.stem


def replay(
    journal_folder: str | os.PathLike[str],
    catalog: Any,
    running: Collection[str] = frozenset(),
    state: Mapping[str, Any] | None = None,
) -> list[str]:
    """Copy runs that are missing or incomplete in the catalogue from the journal, oldest first; return their uids.

    Complete runs are skipped, so a second call changes nothing. Runs without a stop document are first closed by
    :func:`~xrm_sims.data.journal.close_interrupted`, the newest run with the instrument's ``state``. Runs named in
    ``running`` are not touched.
    """
    folder = Path(journal_folder)
    newest = journal_paths(folder)[-1:]
    for path in interrupted_runs(folder):
        if path.stem not in running:
            close_interrupted(path, state=state if [path] == newest else None)
    whole = _whole_runs(catalog)
    brought = []
    for path in journal_paths(folder):
        if path.stem in running:
            continue
        if path.stem in whole:
            _note_taken(folder, path.stem)
        elif _bring_in(path, catalog, _writer(catalog, _REPLAY_BATCH)):
            brought.append(path.stem)
    return brought


def not_taken(journal_folder: str | os.PathLike[str]) -> list[Path]:
    """Return the journals of runs not confirmed to be in the catalogue, oldest first, without reading the catalogue."""
    folder = Path(journal_folder)
    try:
        taken = set((folder / TAKEN).read_text().split())
    except FileNotFoundError:
        taken = set()
    return [path for path in journal_paths(folder) if path.stem not in taken]


def _note_taken(folder: Path, run: str) -> None:
    """Note that a run is in the catalogue. A lost note only costs another look at the catalogue."""
    with suppress(OSError), open(folder / TAKEN, "a") as file:
        file.write(f"{run}\n")


def _whole_runs(catalog: Any) -> set[str]:
    """Return the uids of complete runs: a stop document is written last, after all other documents."""
    from tiled.queries import KeyPresent

    return set(catalog.search(KeyPresent("stop.uid")))


def _bring_in(path: Path, catalog: Any, writer: Any) -> list[str]:
    """Write one run again from its journal; return the names of its documents. Frame files are not touched."""
    if path.stem in catalog:
        catalog[path.stem].delete(recursive=True, external_only=False)
    told = []
    for name, doc in read_journal(path):
        writer(name, doc)
        told.append(name)
    if told[-1:] == ["stop"]:
        _note_taken(path.parent, path.stem)
    return told


def _writer(catalog: Any, batch_size: int) -> Any:
    from bluesky_tiled_plugins import TiledWriter
    from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer

    class Trusting(RunNormalizer):  # type: ignore[misc]
        """Skips validation, which the RunEngine has done: this saves 0.2 ms for each event and its frame."""

        def emit(self, name: Any, doc: Any) -> None:
            self.dispatcher.process(name, doc)

    return TiledWriter(catalog, normalizer=Trusting, batch_size=batch_size)
