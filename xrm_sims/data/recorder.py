"""What keeps a run: the journal at once, the catalogue as soon as it can.

Acquisition waits for the journal only. The catalogue is written from a thread of its own and may be slow, fail or go
away: the runs it missed come from the journal later.
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
TAKEN = "taken.txt"  # beside the journals: uids of the runs that the catalogue has
_REPLAY_BATCH = 10_000


class Recorder:
    """A callback ``(name, doc)`` for the RunEngine.

    Parameters
    ----------
    data : the data root.
    batch_size : events the catalogue takes at a time. Large is cheap when events come fast; 1 shows each event at
        once and suits exposures of seconds.
    retry_s : after the catalogue failed it is left alone for so long, then given the run anew from the journal, also
        while the run goes on.
    """

    def __init__(
        self, data: str | os.PathLike[str] | None = None, batch_size: int = BATCH_SIZE, retry_s: float = RETRY_S
    ) -> None:
        self.layout = Layout.of(data)
        self.journal = Journal(self.layout.journal)
        self.batch_size = batch_size
        self.retry_s = retry_s
        self._queue: queue.Queue[tuple[str, int, bytes] | None] = queue.Queue()
        self._written: Counter[str] = Counter()  # lines of each open run in its journal
        self._brought: dict[str, int] = {}  # of them, those that the catalogue got from there
        self._writers: dict[str, Any] = {}
        self._behind: set[str] = set()
        self._failed_s = 0.0
        self._thread: threading.Thread | None = None
        note_recorder(self.layout.root, self.flush)

    @property
    def behind(self) -> set[str]:
        """Runs the catalogue has not taken; they are whole in the journal."""
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
        """Wait until the catalogue has every run that has ended; the runs it would not take, if any."""
        self._queue.join()
        for run in self._behind - self.journal.open_runs:
            self._catch_up(run)
        return self.behind

    def close(self) -> None:
        """Flush and let go. The catalogue can be read on."""
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self.journal.close()
        note_recorder(self.layout.root, None)

    def replay(self, state: Mapping[str, Any] | None = None) -> list[str]:
        """Bring everything from the journal that the catalogue lacks, see :func:`replay`. Runs of this recorder that
        still go on are left alone. Only the process that drives the instrument may call this."""
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
            except Exception as error:  # whatever happens to the catalogue, acquisition goes on
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
        """Write the run anew from its journal as far as it goes; the documents in hand that this includes are skipped
        as they come."""
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
        logger.warning("run %s: the catalogue failed (%s); the run is kept in the journal", run, error)


def record_whole(data: str | os.PathLike[str] | None, documents: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Keep a run that is known whole, such as an imported one: its journal appears at once, then the catalogue gets
    it; its uid. A catalogue that fails gets it from the journal later.

    Raises RuntimeError when the journal cannot be written: then nothing of the run is there.
    """
    layout = Layout.of(data)
    path = write_journal(layout.journal, documents)
    try:
        catalog = open_catalog(layout.root)
        _bring_in(path, catalog, _writer(catalog, _REPLAY_BATCH))
    except Exception as error:
        logger.warning("run %s: the catalogue failed (%s); the run is kept in the journal", path.stem, error)
    return path.stem


def replay(
    journal_folder: str | os.PathLike[str],
    catalog: Any,
    running: Collection[str] = frozenset(),
    state: Mapping[str, Any] | None = None,
) -> list[str]:
    """Bring the runs into the catalogue that it lacks or has only in part, oldest first; their uids.

    Runs the catalogue has whole are skipped, so doing it twice does no harm. A run in the journal that never ended
    gets what :func:`~xrm_sims.data.journal.close_interrupted` writes, there and in the catalogue; with the instrument's
    ``state`` if nothing was measured since. ``running`` names runs that still go on.
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
    """Journals of runs that the catalogue may lack, oldest first: it has not said that it has them. It is not asked."""
    folder = Path(journal_folder)
    try:
        taken = set((folder / TAKEN).read_text().split())
    except FileNotFoundError:
        taken = set()
    return [path for path in journal_paths(folder) if path.stem not in taken]


def _note_taken(folder: Path, run: str) -> None:
    """A line that is lost costs another look at the catalogue, no more."""
    with suppress(OSError), open(folder / TAKEN, "a") as file:
        file.write(f"{run}\n")


def _whole_runs(catalog: Any) -> set[str]:
    """A run's stop document comes last and only after everything before it was taken."""
    from tiled.queries import KeyPresent

    return set(catalog.search(KeyPresent("stop.uid")))


def _bring_in(path: Path, catalog: Any, writer: Any) -> list[str]:
    """Write one run anew from its journal; the names of its documents. Frame files are never touched."""
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
        """The RunEngine has validated what comes out of the journal: 0.2 ms saved for an event and its frame."""

        def emit(self, name: Any, doc: Any) -> None:
            self.dispatcher.process(name, doc)

    return TiledWriter(catalog, normalizer=Trusting, batch_size=batch_size)
