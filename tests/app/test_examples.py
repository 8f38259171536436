"""The example of every command's help, typed in order at one desk: only uids, a password and a sheet are put in."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer

from tests.app.conftest import _heed_signals
from xrm_sims.app.cli.main import app

COMMANDS = typer.main.get_command(app).commands
# with a PostgreSQL, a Redis and a file of others: tests/data/test_postgresql.py, test_queue.py, tests/exchange
TRIED_ELSEWHERE = {"move-catalogue", "queue", "import"}
STAYING = {"ioc": "process variables", "live": "waiting for one", "watch": "http://", "serve": "http://"}
SHEET = Path(__file__).parents[2] / "docs" / "night.md"


class Desk:
    """A home folder where commands are typed."""

    def __init__(self, home):
        self.home, self.typed = home, set()

    def start(self, line):
        name, *words = line.replace("~", str(self.home)).split()
        self.typed.add(name)
        environment = {name: value for name, value in os.environ.items() if name != "XRM_SIMS_DATA"}
        return subprocess.Popen(
            [sys.executable, "-m", "xrm_sims.app.cli.main", name, *words], cwd=self.home,
            env=environment | {"HOME": str(self.home)}, text=True, preexec_fn=_heed_signals,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def type(self, line, told="", code=0):
        """What it prints; the uid of its run at the end, where it measures."""
        process = self.start(line)
        out, err = process.communicate(told)
        assert process.returncode == code, f"{line}: {process.returncode}, {err[-2000:]}"
        return (out + err).strip() if code else out.strip()

    def stay(self, line, sign):
        """It says that it is up, and ends when Ctrl-C is pressed."""
        process, said, up = self.start(line), [], threading.Event()

        def listen(stream):
            for text in stream:
                said.append(text)
                if sign in text:
                    up.set()

        listeners = [threading.Thread(target=listen, args=(stream,)) for stream in (process.stdout, process.stderr)]
        for listener in listeners:
            listener.start()
        came = up.wait(120)
        process.send_signal(signal.SIGINT)
        code = process.wait(120)
        for listener in listeners:
            listener.join()
        assert came, f"{line}: {''.join(said)[-2000:]}"
        assert code in (0, 130), f"{line}: {code}, {''.join(said)[-2000:]}"


def example(name, **uids):
    """Of a command, with real runs for those that it names."""
    line = re.search(r"Example: xrm-sims (.*)$", COMMANDS[name].help.strip())[1]
    for written, uid in uids.items():
        line = line.replace(written.removeprefix("uid_"), uid)
    return line


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_example_runs(tmp_path):
    desk = Desk(tmp_path)
    for name in ("doctor", "plan", "demo"):
        desk.type(example(name))
    ct = desk.type(example("tomography")).split()[-1]
    desk.type(example("sims"))
    lithium = desk.type("sims --fov-um 11.8 --channels 6Li,7Li,27Al,59Co --frames 2").split()[-1]
    for name in ("reconstruct", "find-rois", "resolution"):
        desk.type(example(name, uid_3f2a9=ct))
    desk.type(example("export", uid_3f2a9=ct))
    desk.type(example("maps", uid_3f2a9=lithium))
    both = [desk.type(f"tomography --num 90 --step-deg 4 --binning 4 --target {t}").split()[-1] for t in ("W", "Cu")]
    desk.type(example("two-target", uid_3f2a9=both[0], uid_81c07=both[1]))
    (desk.home / "sheet.toml").write_text(re.search(r"```toml\n(.*?)```", SHEET.read_text(), re.DOTALL)[1])
    for name in ("night", "recover", "report", "validate", "correlate"):
        desk.type(example(name))
    whole = re.findall(r"[0-9a-f-]{36}", (desk.home / "demo" / "summary.json").read_text())[1]
    assert "nothing is left" in desk.type(example("resume", uid_3f2a9=whole), code=1)
    desk.type(example("console"), "exit\n")
    desk.type(example("add-user"), "correct horse battery\ncorrect horse battery\n")
    for name, sign in STAYING.items():
        desk.stay(example(name), sign)
    assert desk.typed == set(COMMANDS) - TRIED_ELSEWHERE
