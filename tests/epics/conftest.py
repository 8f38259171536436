"""An IOC in another process."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

COARSE = "[surface]\npitch_um = 0.4\nmilling_columns = 16\n"  # these tests need no fine topography


@contextmanager
def serving(data, prefix, *options):
    """Start an IOC and yield its process; send it Ctrl-C at the end."""
    data.mkdir(exist_ok=True)
    (data / "settings.toml").write_text(COARSE)
    command = [sys.executable, "-m", "xrm_sims.app.cli.main", "ioc", "--data", str(data), "--prefix", prefix, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert "process variables" in line, line + process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate()


@pytest.fixture
def ioc(tmp_path):
    return lambda prefix, *options: serving(tmp_path / "ioc", prefix, *options)
