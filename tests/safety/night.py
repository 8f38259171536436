"""A short night in a process that can be killed at any moment and is restarted until the night is done.

Over a pipe that survives the process it reports each frame from a detector, each document that the recorder
acknowledged, and the state of the instrument after the session opened.
"""

from __future__ import annotations

import json
import os
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bluesky.preprocessors import inject_md_wrapper

import plans
import xrm_sims.data.server  # slow to import: once for all forked processes
from tests.safety.moments import Trap
from xrm_sims.app.common.errors import root_cause, sentence
from xrm_sims.app.common.signals import Interrupted, on_stop_signals, stop_here
from xrm_sims.app.session.resume import resume_run
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.data import documents
from xrm_sims.data.journal import encode, journal_paths, read_journal, read_start
from xrm_sims.patterns import Raster, Rectangle

SETTINGS = """
[surface]
pitch_um = 0.4
milling_columns = 16
"""
VIEWS, FRAMES = 6, 4
PATTERN = Rectangle(size_um=(6.0, 6.0), depth_um=0.2, passes=3)
RASTER = Raster((16, 16), 8.0, 0.5)
SCAN = {
    "num": VIEWS,
    "step_deg": 60.0,
    "binning": 8,
    "num_dark": 1,
    "num_flat": 1,
    "flat_every": 4,
    "reference_every": 4,
}
STEPS: dict[str, Callable[..., Any]] = {
    "tomography": lambda scope, md: plans.tomography(scope, **SCAN, md=md),
    "milling": lambda scope, md: plans.mill(scope, PATTERN, md=md),
    "sims_raster": lambda scope, md: plans.sims_raster(
        scope, fov_um=RASTER.fov_um, shape=RASTER.shape, dwell_ms=RASTER.dwell_ms, frames=FRAMES, md=md
    ),
}


PHASES = ("opening", *STEPS, "closing")


def process(data: Path, pipe: Any, trap: Any) -> None:
    """Run a night in a forked process, with the exit codes of a command.

    ``pipe`` is a duplicated descriptor; ``trap`` is a moment for the kill, or a function to call with each phase.
    """
    witness = Witness(pipe.detach())
    said = os.open(data / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    on_stop_signals(stop_here)
    try:
        night(data, witness, trap if callable(trap) else Trap(trap, witness).reached)
    except Interrupted as interruption:
        witness("sentence", str(interruption))
        os._exit(130)
    except Exception as error:
        witness("sentence", sentence(error))
        if isinstance(root_cause(error), AssertionError):
            raise
        os._exit(1)


def serve(data: Path) -> None:
    """Run the Tiled server of a data root in a forked process."""
    xrm_sims.data.server.TiledServer(data).run()


class Witness:
    """Writes messages to the pipe; each line is short enough to be written atomically."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def __call__(self, what: str, *words: Any) -> None:
        os.write(self._pipe, json.dumps([what, *words]).encode() + b"\n")


def checksum(array: Any) -> int:
    return zlib.crc32(array.astype("u4").tobytes())


def night(data: Path, witness: Witness, reached: Callable[[str], None]) -> None:
    """Do the remaining steps, then compare catalogue and journals; call ``reached`` with each of the PHASES."""

    def now(phase: str) -> None:
        reached(phase)
        witness("phase", phase)

    now("opening")
    with open_session(data, seed=1) as session:
        witness("recovered", time.time(), state_of(session))
        _listen(session, witness)
        for name, plan in STEPS.items():
            now(name)
            try:
                session.run(_left_to_do(session, name, plan))
            except ValueError as error:
                if "nothing is left" not in str(error):
                    raise
        _compare(session)
        now("closing")
    witness("done")


def state_of(session: Session) -> dict[str, Any]:
    """Return beams, target position and doses of the instrument."""
    drivers = session.drivers
    return {
        "beams blanked": drivers.beam.get("blanked") is True and drivers.fib.get("blanked") is True,
        "target_x_um": drivers.target.get("x_um"),
        "dose_nc": drivers.fib.get("dose_nc"),
        "scan_dose_nc": drivers.fib.get("scan_dose_nc"),
        "electrons_c": drivers.beam.get("target_charge_c") + drivers.beam.get("specimen_charge_c"),
    }


def _left_to_do(session: Session, name: str, plan: Callable[..., Any]) -> Any:
    begun = [path.stem for path in journal_paths(session.data / "journal") if read_start(path).get("step") == name]
    if not begun:
        return plan(session.scope, {"step": name})
    rest = resume_run(session.scope, begun[-1], session.data, announce=lambda line: None)
    return inject_md_wrapper(rest, {"step": name})


def _listen(session: Session, witness: Witness) -> None:
    session.RE.subscribe(lambda name, doc: witness("document", zlib.crc32(encode(name, doc))))  # after the recorder
    for key, driver, command in (
        ("widepix_image", session.drivers.widepix, "expose"),
        ("sector_counts", session.drivers.sector, "raster_frame"),
    ):
        _overhear(driver, command, lambda frame, key=key: witness("frame", key, checksum(frame.counts)))


def _overhear(driver: Any, command: str, tell: Callable[[Any], None]) -> None:
    inner = getattr(driver, command)

    def call() -> Any:
        frame = inner()
        tell(frame)
        return frame

    setattr(driver, command, call)


def _compare(session: Session) -> None:
    """Check that each run in the journal is in the catalogue with the same events and frames."""
    paths = journal_paths(session.data / "journal")
    catalog = session.catalog
    assert sorted(catalog) == sorted(path.stem for path in paths)
    for path in paths:
        kept, journalled = comparable(documents(path.stem, session.data)), comparable(read_journal(path))
        assert kept == journalled, f"{path.stem}: {kept} is not {journalled}"


def comparable(docs: Any) -> dict[str, Any]:
    """Return start, stop, events by stream and number, and the frame of each number, for comparison."""
    streams: dict[str, str] = {}
    found: dict[str, Any] = {"events": {}, "frames": {}}
    for name, doc in docs:
        if name in ("start", "stop"):
            found[name] = json.loads(json.dumps({key: value for key, value in doc.items() if key != "_name"}))
        elif name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event":
            found["events"][f"{streams[doc['descriptor']]} {doc['seq_num']}"] = json.loads(json.dumps(doc["data"]))
        elif name == "stream_datum":
            for offset in range(doc["indices"]["stop"] - doc["indices"]["start"]):
                number = doc["seq_nums"]["start"] + offset
                found["frames"][f"{streams[doc['descriptor']]} {number}"] = doc["indices"]["start"] + offset
    return found
