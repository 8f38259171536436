"""Start nights, kill them, restart them, and check the files that they left."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import reduction
from pathlib import Path
from select import select
from typing import Any

from recon.frames.documents import TomographyConsumer, merge_scans
from tests.safety import night as nights
from tests.safety.moments import AfterWords, AtStep, Moment
from tests.safety.night import FRAMES, PATTERN, RASTER, SETTINGS, VIEWS, checksum
from xrm_sims.data.frames import count_frames, read_block
from xrm_sims.data.journal import encode, journal_paths, read_journal, read_start
from xrm_sims.data.parts import find_parts
from xrm_sims.settings import Settings
from xrm_sims.twin.state_store import StateStore

SILENT_S = 300.0  # a process without messages for this time hangs
ROUNDING = 1e-9
forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload(["tests.safety.night"])


@dataclass
class Told:
    """Messages of one process of a night."""

    words: list[list[Any]]
    exit_code: int

    def of(self, what: str) -> list[list[Any]]:
        return [words[1:] for words in self.words if words[0] == what]

    def counted(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the numbers of disk steps and of messages in each phase."""
        phase, words = "", Counter[str]()
        for what, *rest in self.words:
            phase = rest[0] if what == "phase" else phase
            words[phase] += 1
        return {phase: steps for phase, steps in self.of("steps")}, dict(words)

    @property
    def sentence(self) -> str:
        """The error sentence at the end."""
        return "".join(sentence for (sentence,) in self.of("sentence"))

    @property
    def phase(self) -> str:
        """The last phase."""
        return [phase for (phase,) in self.of("phase")][-1]

    @property
    def done(self) -> bool:
        return bool(self.of("done"))


@dataclass
class Left:
    """The instrument's stored state after a kill."""

    dose_nc: float = 0.0
    scan_dose_nc: float = 0.0
    electrons_c: float = 0.0
    drawing_nc: float = 0.0  # dose of an unfinished scan once it is finished
    ions_on: bool = False
    electrons_on: bool = False
    wall_s: float = 0.0


@dataclass
class Night:
    """One data root, with the messages and kills of its processes."""

    data: Path
    told: list[Told] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.data.mkdir(parents=True)
        (self.data / "settings.toml").write_text(SETTINGS)

    def run(
        self,
        moment: Moment | None = None,
        *,
        signals: Sequence[int] = (signal.SIGKILL,),
        trap: Callable[[str], None] | None = None,
        code: int = -signal.SIGKILL,
    ) -> Told:
        """Run one process, to the end or until it is killed at a moment.

        Parameters
        ----------
        signals : signals to send one after the other, when the moment is a number of messages.
        trap : called in the process with each phase, instead of a moment.
        code : expected exit code when the process does not reach the end.
        """
        before = self.left()
        reading, writing = os.pipe()
        inside = trap or (moment if isinstance(moment, AtStep) else None)
        process = forking.Process(target=nights.process, args=(self.data, reduction.DupFd(writing), inside))
        process.start()
        os.close(writing)
        words: list[list[Any]] = []
        due_s: float | None = None
        due = Counter[str]()
        phase, unread, over, hangs = "", b"", False, False
        with open(reading, "rb", buffering=0) as pipe:
            while not over:
                patience_s = SILENT_S if due_s is None else max(0.0, due_s - time.monotonic())
                if not select([pipe], [], [], patience_s)[0]:
                    hangs = due_s is None
                    for number in (signal.SIGKILL,) if hangs else signals:
                        os.kill(process.pid, number)
                    due_s = None
                piece = pipe.read(1 << 16)
                over = not piece
                *lines, unread = (unread + piece).split(b"\n")
                for line in lines:
                    words.append(json.loads(line))
                    phase = words[-1][1] if words[-1][0] == "phase" else phase
                    due[phase] += 1
                if isinstance(moment, AfterWords) and due[moment.phase] > moment.words:
                    due_s, moment = time.monotonic() + moment.seconds, None
        process.join()
        assert not hangs, f"no message for {SILENT_S:g} s after {words[-3:]}"
        told = Told(words, process.exitcode)
        self.told.append(told)
        self._check_recovery(before, told)
        if not told.done:
            assert told.exit_code == code, f"{told.sentence}\n{(self.data / 'said.txt').read_text()}"
            where = self.where()
            self.kills[where if code == -signal.SIGKILL else where.removeprefix("after ")] += 1  # it closed its run
        return told

    def finish(self) -> None:
        """Run to the end without a kill, then check everything."""
        while not self.run().done:
            pass
        self.check()

    def where(self) -> str:
        """Return the activity at the kill, from the newest journal."""
        paths = journal_paths(self.data / "journal") if (self.data / "journal").is_dir() else []
        if not paths:
            return "before the first run"
        streams: dict[str, str] = {}
        name, doc, start = "", {}, read_start(paths[-1])
        for name, doc in read_journal(paths[-1]):
            if name == "descriptor":
                streams[doc["uid"]] = doc["name"]
        kind = start.get("scan_type", "run")
        if name == "stop":
            return f"after {kind}"
        return f"{kind}, {streams.get(doc.get('descriptor', ''), name)}"

    def left(self) -> Left:
        if not (self.data / "twin").exists():
            return Left()
        store = StateStore(self.data / "twin")
        try:
            state = store.load()
        finally:
            store.close()
        if state is None:
            return Left()
        totals, fib, settings = state.totals, state.values["fib"], Settings()
        drawing = {
            None: 0.0,
            "mill_pass": PATTERN.dose_nc(settings.sputtering.rate_lco_um3_per_nc) / PATTERN.passes,
            "raster_frame": fib["current_pa"] * 1e-3 * RASTER.frame_s,
        }[state.scanning[1] if state.scanning else None]
        return Left(
            totals.get("fib_dose_nc", 0.0),
            totals.get("fib_scan_dose_nc", 0.0),
            totals.get("target_charge_c", 0.0) + totals.get("specimen_electron_charge_c", 0.0),
            drawing,
            not fib["blanked"],
            not state.values["beam"]["blanked"],
            state.wall_s,
        )

    def _check_recovery(self, before: Left, told: Told) -> None:
        """Both beams are blanked, and after the kill the specimen got only the dose of an open beam."""
        for when_s, state in told.of("recovered"):
            assert state["beams blanked"]
            if before.ions_on or before.electrons_on:
                assert state["target_x_um"] == Settings().target.park_x_um
            scanned_nc = state["scan_dose_nc"] - before.scan_dose_nc
            assert abs(scanned_nc - before.drawing_nc) < ROUNDING
            away_s = when_s - before.wall_s
            parked_nc = state["dose_nc"] - before.dose_nc - scanned_nc
            most_nc = Settings().ion.milling_current_pa * 1e-3 * away_s if before.ions_on else 0.0
            assert -ROUNDING < parked_nc <= most_nc + ROUNDING
            electrons_c = state["electrons_c"] - before.electrons_c
            most_c = Settings().electron.current_na * 1e-9 * away_s if before.electrons_on else 0.0
            assert 0 <= electrons_c <= most_c + 1e-18

    def check(self) -> None:
        """Check that nothing was lost or done twice."""
        self._check_documents()
        self._check_frames()
        self._check_views()
        self._check_dose()

    def _check_documents(self) -> None:
        """Each acknowledged document is in a journal, and each run has ended."""
        kept: Counter[int] = Counter()
        for path in journal_paths(self.data / "journal"):
            docs = list(read_journal(path))
            assert [name for name, _ in docs].count("stop") == 1
            assert docs[-1][0] == "stop"
            kept.update(zlib.crc32(encode(name, doc)) for name, doc in docs)
        acknowledged = Counter(number for told in self.told for (number,) in told.of("document"))
        assert acknowledged <= kept, f"{(acknowledged - kept).total()} acknowledged documents are not in the journals"

    def _check_frames(self) -> None:
        """Each frame that a document names is identical to one from a detector."""
        handed_over = {key: set() for key in ("widepix_image", "sector_counts")}
        for told in self.told:
            for key, number in told.of("frame"):
                handed_over[key].add(number)
        for path in journal_paths(self.data / "journal"):
            resources: dict[str, Any] = {}
            for name, doc in read_journal(path):
                if name == "stream_resource":
                    resources[doc["uid"]] = doc
                elif name == "stream_datum":
                    resource, indices = resources[doc["stream_resource"]], doc["indices"]
                    for frame in read_block(resource, indices["start"], indices["stop"]):
                        assert checksum(frame) in handed_over[resource["data_key"]]
            assert all(count_frames(resource) for resource in resources.values() if _announced(path, resource))

    def _check_views(self) -> None:
        """Every view exists exactly once, in the parts and in the merged scan of a reconstruction."""
        parts = find_parts(self.data / "journal", self._first("tomography"))
        views = [part.start["view_indices"][number - 1] for part in parts for number in part.taken]
        assert sorted(views) == list(range(VIEWS))
        consumers = []
        for part in parts:
            consumer = TomographyConsumer()
            for name, doc in read_journal(self.data / "journal" / f"{part.uid}.jsonl"):
                consumer(name, doc)
            consumers += [consumer] if consumer.has_projections else []
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*more than one frame")
            warnings.filterwarnings("ignore", message=".*no event for")
            scans = [consumer.scan() for consumer in consumers]
            angles, _ = merge_scans(scans)
        assert angles.round(3).tolist() == [60.0 * view for view in range(VIEWS)]
        assert sum(len(scan.projections) for scan in scans) == VIEWS

    def _check_dose(self) -> None:
        """The specimen got each pass and each frame of the plans once.

        Frames without a file are recorded as lost, at most one for each killed process; no existing frame is.
        """
        parts = find_parts(self.data / "journal", self._first("sims_raster"))
        taken = [part.start["frame_indices"][number - 1] for part in parts for number in part.taken]
        lost = {frame for part in parts for frame in part.start.get("lost_indices", [])}
        left = self.left()
        frame_nc = parts[0].start["frame_dose_nc"]
        whole_nc = PATTERN.dose_nc(Settings().sputtering.rate_lco_um3_per_nc) + FRAMES * frame_nc
        assert abs(left.scan_dose_nc - whole_nc) < 1e-6 * whole_nc
        drawn = sum((part.after["fib_scan_dose_nc"] - part.before["fib_scan_dose_nc"]) for part in parts if part.before)
        assert abs(drawn - FRAMES * frame_nc) < 1e-6 * frame_nc
        assert len(taken) == len(set(taken))
        untold = set(range(FRAMES)) - set(taken) - lost  # the last frame may be lost without a part that records it
        assert len(lost) + len(untold) <= sum(n for where, n in self.kills.items() if where.startswith("sims"))
        assert not lost & set(taken)
        assert not left.ions_on
        assert not left.electrons_on

    def _first(self, step: str) -> str:
        paths = journal_paths(self.data / "journal")
        return next(path.stem for path in paths if read_start(path).get("step") == step)


def _announced(path: Path, resource: dict[str, Any]) -> bool:
    return any(name == "stream_datum" and doc["stream_resource"] == resource["uid"] for name, doc in read_journal(path))
