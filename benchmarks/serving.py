"""`xrm-sims serve` on a volume of full size: first picture in a browser, slices for one and for twenty readers, and the
speed of a scan at the same time.

Everything runs on this computer. In a laboratory the readers are elsewhere, so beside a scan they get only idle time.

python -m benchmarks.serving
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from bluesky import RunEngine

import plans
from benchmarks import child
from benchmarks.orchestration import InstantDetector
from devices import Instrument
from xrm_sims.data import results
from xrm_sims.data.catalog import disconnect
from xrm_sims.data.recorder import Recorder
from xrm_sims.settings import Settings
from xrm_sims.twin import Microscope

SHAPE = (256, 1280, 1280)
UID = "f" * 36
NAME = "benchmarks.serving"
READERS, READING_S = 20, 20.0
VIEWS = {"computed": 30, "waited for": 60}
EXPOSURE_S = 0.25  # of a detector without computing; real exposures take minutes


def keep_volume(data: Path) -> float:
    """Store a volume of noise, each plane marked with its number; return the seconds it took."""
    volume = np.random.default_rng(1).normal(0.05, 0.02, SHAPE).astype(np.float32)
    volume[:, 0, 0] = np.arange(SHAPE[0])
    began = time.perf_counter()
    results.save(data, UID, "volume", {"volume": volume}, {"units": "1/um", "axes": ["z", "y", "x"], "voxel_um": 0.05})
    taken = time.perf_counter() - began
    disconnect(data)
    return taken


class Served:
    """The command, in a process of its own."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "xrm_sims.app.cli.main", "serve", "--port", "0", "--data", str(data)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = re.search(r"(http://[\d.:]+)/ui/\?api_key=(\w+)", self.process.stdout.readline())
        assert said
        self.base, self.key = said.groups()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def first_picture_s(served: Served, profile: Path) -> float:
    """Return the seconds from entering the volume's address to its picture, with an empty browser profile."""
    from tests.app.browser import Browser

    browser = Browser(str(shutil.which("chromium")), profile)
    try:
        browser.open("about:blank")
        began = time.perf_counter()
        browser.open(f"{served.base}/ui/browse/results/{UID}/volume/volume?api_key={served.key}")
        browser.until("document.querySelector('canvas')?.width == 640")
        return time.perf_counter() - began
    finally:
        browser.close()


class Reader:
    """Reads random slices over one connection and checks each."""

    def __init__(self, base: str, key: str, seed: int) -> None:
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self._random = random.Random(seed)
        self._client = httpx.Client(
            base_url=base, headers={"Authorization": f"Apikey {key}"}, timeout=60, trust_env=False
        )

    def read(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            z = self._random.randrange(SHAPE[0])
            began = time.perf_counter()
            try:
                query = {"slice": str(z), "format": "application/octet-stream"}
                answer = self._client.get(f"/api/v1/array/full/results/{UID}/volume/volume", params=query)
                answer.raise_for_status()
                plane = np.frombuffer(answer.content, np.float32).reshape(SHAPE[1:])
                assert plane[0, 0] == z, f"asked for slice {z}, got {plane[0, 0]}"
            except Exception as error:
                self.errors.append(repr(error))
            self.seconds.append(time.perf_counter() - began)


def read(base: str, key: str, readers: int, seconds: float) -> dict[str, Any]:
    """Return rate, times and errors of concurrent readers."""
    many = [Reader(base, key, seed) for seed in range(readers)]
    began = time.monotonic()
    threads = [threading.Thread(target=reader.read, args=(began + seconds,)) for reader in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    each = [taken for reader in many for taken in reader.seconds]
    return {
        "rate": len(each) / (time.monotonic() - began),
        "median_s": float(np.median(each)),
        "slowest_s": max(each),
        "errors": [error for reader in many for error in reader.errors],
    }


class WaitedFor(InstantDetector):
    """A detector whose exposures take time but no computing."""

    def expose(self) -> Any:
        time.sleep(EXPOSURE_S)  # the exposure: this computer has nothing to do meanwhile
        return super().expose()


def scan_s(data: Path, kind: str) -> float:
    """Return the seconds of a recorded full-format scan, from its first command to its last document."""
    settings = Settings()
    views = VIEWS[kind]
    scan = {"num": views, "step_deg": 360 / views, "flat_every": 0, "reference_every": 0, "num_flat": 1, "num_dark": 1}
    with tempfile.TemporaryDirectory() as folder, Microscope(Path(folder) / "twin", settings=settings, seed=1) as twin:
        twin.widepix.expose()  # compiles
        if kind == "waited for":
            frame = np.random.default_rng(1).poisson(1500, (settings.detector.rows, settings.detector.columns))
            twin.widepix = WaitedFor(twin.widepix, frame.astype(np.uint32))  # type: ignore[assignment]
        scope = Instrument(twin, settings, data / "frames")
        engine, recorder = RunEngine({}), Recorder(data)
        engine.subscribe(recorder)
        began = time.perf_counter()
        engine(plans.tomography(scope, **scan))
        taken = time.perf_counter() - began
        recorder.close()
        scope.close()
    return taken


def run() -> dict[str, Any]:
    """Return all results by name; ``slowed`` is the share by which the readers lengthen a scan of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        found: dict[str, Any] = {"keep_s": keep_volume(data)}
        served = Served(data)
        try:
            address = (served.base, served.key)
            if shutil.which("chromium"):
                found["picture_s"] = first_picture_s(served, Path(folder) / "profile")
            found["alone"] = child.result(child.start(NAME, "--read", *address, 1, READING_S / 2))
            found["idle_mb"] = child.memory_mb("VmRSS", served.process.pid)
            found["many"] = child.result(child.start(NAME, "--read", *address, READERS, READING_S))
            found["peak_mb"] = child.memory_mb("VmHWM", served.process.pid)
            found["slowed"] = {}
            for kind in VIEWS:
                undisturbed = child.result(child.start(NAME, "--scan", data, kind))
                # with idle time only, as if on another computer
                readers = child.start(NAME, "--read", *address, READERS, 600.0, prefix=("chrt", "--idle", "0"))
                try:
                    disturbed = child.result(child.start(NAME, "--scan", data, kind))
                finally:
                    readers.kill()
                    readers.communicate()
                found["slowed"][kind] = disturbed / undisturbed - 1
        finally:
            served.stop()
    return found


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--read", nargs=4, metavar=("BASE", "KEY", "READERS", "SECONDS"), help="read, and print JSON")
    cli.add_argument("--scan", nargs=2, metavar=("DATA", "KIND"), help="scan, and print seconds")
    args = cli.parse_args()
    if args.read:
        base, key, readers, seconds = args.read
        print(json.dumps(read(base, key, int(readers), float(seconds))))
    elif args.scan:
        print(json.dumps(scan_s(Path(args.scan[0]), args.scan[1])))
    else:
        for name, value in run().items():
            print(f"{name:10} {value}")
