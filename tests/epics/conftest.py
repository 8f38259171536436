"""An IOC as a process of its own."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

COARSE = "[surface]\npitch_um = 0.4\nmilling_columns = 16\n"  # nothing here looks at fine topography


@contextmanager
def serving(data, prefix, *options):
    """The process; it is ended with Ctrl-C if it still runs."""
    data.mkdir(exist_ok=True)
    (data / "settings.toml").write_text(COARSE)
    command = [sys.executable, "-m", "xrm_sims.app.cli.main", "ioc", "--data", str(data), "--prefix", prefix, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        assert "process variables" in said, said + process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate()


@pytest.fixture
def ioc(tmp_path):
    return lambda prefix, *options: serving(tmp_path / "ioc", prefix, *options)
