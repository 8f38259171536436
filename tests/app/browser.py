"""Chromium without a window, driven over its own pipe: what a page logs, asks the network for, shows and does."""

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

COMPLAINTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")


class Browser:
    """One page; ``heard`` are the events since it was opened."""

    def __init__(self, program: str, profile: Path):
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        switches = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        pipe = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'  # where Chromium looks for it
        self._process = subprocess.Popen(
            ["bash", "-c", pipe, "-", program, *switches, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._rest, self._session = 0, b"", None
        self.heard = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda said: said.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: Path | str):
        """A file, or an address."""
        self.heard.clear()
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        if not any(said.get("method") == "Page.loadEventFired" for said in self.heard):
            self._until(lambda said: said.get("method") == "Page.loadEventFired")

    def evaluate(self, script):
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition):
        """Wait for a script's value to be true, and give it."""
        look = (
            "new Promise((done, fail) => { let tries = 3000; (function look() { "
            f"const found = {condition}; if (found) done(found); "
            "else if (tries--) setTimeout(look, 20); else fail(document.body.innerText); })() })"
        )
        answer = self.ask("Runtime.evaluate", expression=look, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def screenshot(self, path: Path, width, *, dark=False):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        return [said for said in self.heard if said.get("method") in COMPLAINTS]

    def requests(self):
        return [
            said["params"]["request"]["url"] for said in self.heard if said.get("method") == "Network.requestWillBeSent"
        ]

    def close(self):
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _until(self, wanted: Callable[[dict], bool]):
        while True:
            while b"\0" not in self._rest:
                piece = os.read(self._from, 1 << 20)
                assert piece, "the browser is gone"
                self._rest += piece
            line, _, self._rest = self._rest.partition(b"\0")
            said = json.loads(line)
            self.heard.append(said)
            if wanted(said):
                return said
