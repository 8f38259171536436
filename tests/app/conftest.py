import json
import re
import signal
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import urlparse

import h5py
import pytest

from xrm_sims.app.cli.main import main
from xrm_sims.data.journal import journal_paths, read_journal
from xrm_sims.twin.state_store import StateStore

# nothing here looks at fine topography; motors fast enough for a real clock
SETTINGS = """
[surface]
pitch_um = 0.4
milling_columns = 16
[target]
speed_um_per_s = 1e6
"""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHORT = ["--num", "3", "--step-deg", "120", "--binning", "8"]


@pytest.fixture(autouse=True)
def heeded_signals():
    """Tests that run in the background inherit ignored signals, which these tests send to themselves."""
    ignored = [number for number in STOPS if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def make_data_root(folder):
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


@pytest.fixture
def data(tmp_path):
    return make_data_root(tmp_path / "data")


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory):
    return make_data_root(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def command(capsys):
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*args):
        handlers = {number: signal.getsignal(number) for number in STOPS}
        arguments, sys.argv = sys.argv, ["xrm-sims", *map(str, args)]
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            said = capsys.readouterr()
            return SimpleNamespace(code=end.code or 0, out=said.out, err=said.err)
        finally:
            sys.argv = arguments
            for number, handler in handlers.items():
                signal.signal(number, handler)

    return run


def _heed_signals():
    """A test run in the background inherits an ignored SIGINT; what it starts must not."""
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)


class Process:
    """A command in a process of its own."""

    def __init__(self, *args, stdin=None):
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "xrm_sims.app.cli.main", *map(str, args)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            preexec_fn=_heed_signals,
        )
        self._seen = b""

    def until(self, pattern):
        """Read stderr up to a pattern; the progress bar says how far a run is."""
        while not re.search(pattern.encode(), self._seen):
            piece = self.popen.stderr.read(256)
            assert piece, f"ended before {pattern!r}: {self._seen.decode()}"
            self._seen += piece

    def end(self, number=None):
        if number is not None:
            self.popen.send_signal(number)
        out, rest = self.popen.communicate()
        err = (self._seen + rest).decode()
        return SimpleNamespace(code=self.popen.returncode, out=out.decode(), err=err)


@pytest.fixture(scope="module")
def launch():
    started = []

    def start(*args, **kwargs):
        started.append(Process(*args, **kwargs))
        return started[-1]

    yield start
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.communicate()


def own_lines(text):
    """What the command itself said, progress bars apart."""
    return re.findall(r"xrm-sims: .*", text)


def twin_values(data):
    """What the instrument's memory says while nobody holds it."""
    store = StateStore(data / "twin")
    try:
        state = store.load()
    finally:
        store.close()
    return json.loads(json.dumps(state.values))


def is_safe(data):
    values = twin_values(data)
    return values["beam"]["blanked"] and values["fib"]["blanked"] and values["target"]["x_um"] == -8000.0


def last_journal(data):
    """Documents of the newest run by name, from its journal alone."""
    documents = {}
    for name, doc in read_journal(journal_paths(data / "journal")[-1]):
        documents.setdefault(name, []).append(doc)
    return documents


def events_by_stream(documents):
    streams = {doc["uid"]: doc["name"] for doc in documents.get("descriptor", [])}
    counted = dict.fromkeys(streams.values(), 0)
    for doc in documents.get("event", []):
        counted[streams[doc["descriptor"]]] += 1
    return counted


def frames_on_disk(documents):
    """Frames in each file of a run, by plain h5py."""
    counted = {}
    for doc in documents["stream_resource"]:
        path = urlparse(doc["uri"]).path
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            counted[path.rsplit("-", 1)[1].removesuffix(".h5")] = len(file[doc["parameters"]["dataset"]])
    return counted


def journal_starts(data):
    """Start documents of all runs, oldest first."""
    paths = journal_paths(data / "journal")
    return [doc for path in paths for name, doc in read_journal(path) if name == "start"]
