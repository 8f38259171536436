"""Overhead of a projection in addition to its exposure: RunEngine, device, frame file, journal, Tiled off-thread.

The devices use the twin, but its detector returns a prepared frame at once, so that only the orchestration is timed.
The same scan runs without and with journal and catalogue, including the flush.

python -m benchmarks.orchestration
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine

import plans
from devices import Instrument
from xrm_sims.data.catalog import disconnect, open_catalog
from xrm_sims.data.layout import Layout
from xrm_sims.data.recorder import Recorder
from xrm_sims.settings import Settings
from xrm_sims.twin import Microscope
from xrm_sims.twin.driver import Frame

NUM, BINNING = 1200, 4
SCAN = {"num": NUM, "step_deg": 0.3, "binning": BINNING, "flat_every": 0, "reference_every": 0, "num_flat": 1}


class InstantDetector:
    """The twin's detector, but exposures take no time."""

    def __init__(self, detector: Any, counts: np.ndarray[Any, Any]) -> None:
        self._detector = detector
        self._counts = counts

    def expose(self) -> Frame:
        return Frame(self._counts, 0.0, 0.0, 400.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)


def scan_ms(root: Path, record: bool) -> float:
    """Return milliseconds per projection of a whole scan of 1,200."""
    settings = Settings()
    shape = (settings.detector.rows // BINNING, settings.detector.columns // BINNING)
    counts = np.random.default_rng(1).poisson(20_000, shape).astype(np.uint32)
    with Microscope(root / "twin", settings=settings, seed=1) as twin:
        twin.widepix = InstantDetector(twin.widepix, counts)  # type: ignore[assignment]
        scope = Instrument(twin, settings, root / "frames")
        engine = RunEngine({})
        recorder = None
        if record:
            open_catalog(root)
            recorder = Recorder(root)
            engine.subscribe(recorder)
        began = time.perf_counter()
        engine(plans.tomography(scope, **SCAN))
        if recorder is not None:
            recorder.flush()
        taken = time.perf_counter() - began
        if recorder is not None:
            recorder.close()
        scope.close()
    return 1e3 * taken / NUM


def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        bare, full = Layout.of(f"{folder}/bare").root, Layout.of(f"{folder}/full").root
        alone = scan_ms(bare, record=False)
        recorded = scan_ms(full, record=True)
        disconnect(full)
    return {"device_ms": alone, "recorded_ms": recorded}


if __name__ == "__main__":
    found = run()
    print(f"{NUM} projections: RunEngine, device and file {found['device_ms']:.1f} ms each")
    print(f"  with journal and Tiled (flushed)  {found['recorded_ms']:.1f} ms each")
