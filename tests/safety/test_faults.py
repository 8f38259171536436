"""Full disks, failing writes, killed servers and interruptions: each ends in a known state."""

import os
import resource
import signal
import subprocess
from functools import partial

import pytest

from tests.safety import night as nights
from tests.safety.harness import Night, forking
from tests.safety.moments import AfterWords
from tests.safety.night import STEPS, comparable
from xrm_sims.app.session.session import open_session
from xrm_sims.data import documents
from xrm_sims.data.catalog import running_server
from xrm_sims.data.journal import journal_path, journal_paths, read_journal
from xrm_sims.data.layout import Layout
from xrm_sims.patterns import Raster

CTRL_C = {"once": [signal.SIGINT], "twice": [signal.SIGINT, signal.SIGINT], "polite kill": [signal.SIGTERM]}
ONE_OF_EACH = {("once", "tomography"), ("twice", "sims_raster"), ("polite kill", "milling")}


def each_phase(picked):
    for how in CTRL_C:
        for phase in STEPS:
            marks = [] if (how, phase) in picked else [pytest.mark.soak]
            yield pytest.param(how, phase, marks=marks, id=f"{how} in {phase}")


def last_stop(night):
    return list(read_journal(journal_paths(night.data / "journal")[-1]))[-1][1]


def is_safe(night):
    left = night.left()
    return not left.ions_on and not left.electrons_on


@pytest.mark.parametrize(("how", "phase"), each_phase(ONE_OF_EACH))
def test_stopped_by_a_person(tmp_path, how, phase):
    """The instrument is safe, the run is aborted, and the next process acquires only what is missing."""
    night = Night(tmp_path / "data")
    told = night.run(AfterWords(phase, 3, 0.0), signals=CTRL_C[how], code=130)
    assert told.sentence.startswith("stopped: beams blanked, target parked, what was acquired is kept in run ")
    assert last_stop(night)["exit_status"] == "abort"
    assert is_safe(night)
    night.finish()


LIMIT_BYTES = 1_150_000  # of a file: larger than journal, databases and surface, smaller than the frames
LARGE = Raster((256, 256), nights.RASTER.fov_um, nights.RASTER.dwell_ms)  # frames of a megabyte each


def _no_file_beyond(phase, reached):
    if reached == phase:
        nights.RASTER = LARGE
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))


@pytest.mark.parametrize("phase", ["tomography", pytest.param("sims_raster", marks=pytest.mark.soak)])
def test_a_frame_that_cannot_be_written(tmp_path, phase):
    """The error names the file, the run has failed, and earlier frames are kept."""
    night = Night(tmp_path / "data")
    told = night.run(trap=partial(_no_file_beyond, phase), code=1)
    assert "no room for frame" in told.sentence
    assert "(File too large); free space on the disk" in told.sentence
    assert last_stop(night)["exit_status"] == "fail"
    assert is_safe(night)
    night.finish()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def _fill(ballast, leave_bytes, phase, reached):
    if reached == phase:
        if leave_bytes > LIMIT_BYTES:
            nights.RASTER = LARGE
        free = os.statvfs(ballast.parent)
        with open(ballast, "wb") as file:
            file.write(bytes(max(0, free.f_bavail * free.f_bsize - leave_bytes)))


@pytest.mark.parametrize(
    ("phase", "leave_bytes"),
    [
        ("milling", 8_192),
        *(pytest.param(p, b, marks=pytest.mark.soak) for p in STEPS for b in (0, 8_192, 40_000, 1_200_000)),
    ],
)
def test_a_full_disk(small_disk, phase, leave_bytes):
    """The beams are blanked, one sentence names the full disk, and with free space the night continues."""
    night, ballast = Night(small_disk / "data"), small_disk / "ballast"
    told = night.run(trap=partial(_fill, ballast, leave_bytes, phase), code=1)
    assert "No space left on device" in told.sentence or "no room" in told.sentence
    assert is_safe(night)
    ballast.unlink()
    night.finish()


@pytest.fixture
def served(tmp_path):
    """A data root, and a function that starts its server in a process of its own."""
    night, servers = Night(tmp_path / "data"), []

    def start():
        servers.append(forking.Process(target=nights.serve, args=(night.data,)))
        servers[-1].start()
        while running_server(Layout(night.data)) is None:
            assert servers[-1].exitcode is None
        return servers[-1]

    yield night.data, start
    for server in servers:
        server.kill()
        server.join()


def test_a_server_that_is_killed_and_comes_back(served):
    """Acquisition continues, and the catalogue gets the missing documents before the run ends."""
    data, start = served
    seen = []

    def meddle(name, doc):
        if name != "event" or "rotation_angle_deg" not in doc["data"]:
            return
        seen.append(doc)
        if len(seen) == 4:
            session.recorder.flush()
            server.kill()
            server.join()
        if len(seen) == 6:
            away.append(session.recorder.flush())
            start()
            session.recorder.retry_s = 0.0
        if len(seen) == 8:
            away.append(session.recorder.flush())

    away = []
    server = start()
    with open_session(data) as session:
        session.recorder.batch_size, session.recorder.retry_s = 1, 3600.0
        uid = session.run(STEPS["tomography"](session.scope, {}), meddle)
        assert away == [{uid}, set()]
        assert comparable(documents(uid, data)) == comparable(read_journal(journal_path(data / "journal", uid)))
