"""Live reconstruction of a scan at demo scale: delay of the volume after the last projection, and its error.

This is the hardest case: the twin takes a projection in a fraction of a second (an instrument needs 90 s), and shares
the cores with the reconstruction. Errors are root mean squares relative to the truth, as in ``recon_regularised``.

python -m benchmarks.recon_live --seed 1
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from bluesky import RunEngine

import plans
import recon
from benchmarks.recon_regularised import error, share_of_active
from devices import Instrument
from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin import Microscope

SCAN = {"num": 1200, "step_deg": 0.3, "binning": 4, "order": "interleaved"}


def run(seed: int = 1, **changes: Any) -> dict[str, float]:
    """Return ``late_s``: from the last projection to the volume; ``flats_s``: the part for the last flats; ``rmse`` of
    the live volume, ``offline_rmse`` and ``offline_s`` of :func:`recon.from_run` on the same documents."""
    documents: list[tuple[str, dict[str, Any]]] = []
    moments: dict[str, float] = {}
    primary = set()

    def listen(name: str, doc: dict[str, Any]) -> None:
        documents.append((name, doc))
        if name == "descriptor" and doc["name"] == "primary":
            primary.add(doc["uid"])
        if name == "stop" or doc.get("descriptor") in primary:
            moments["stop" if name == "stop" else "projection"] = time.perf_counter()

    settings = Settings()
    with (
        tempfile.TemporaryDirectory() as folder,
        Microscope(Path(folder) / "twin", settings=settings, seed=seed) as twin,
    ):
        scope = Instrument(twin, settings, Path(folder) / "frames")
        engine, live = RunEngine({}), recon.LiveReconstruction()
        engine.subscribe(live)
        engine.subscribe(listen)
        engine(plans.tomography(scope, **(SCAN | changes)))
        made = live.result()
        late_s = time.perf_counter() - moments["projection"]
        offline = recon.from_run(documents)
        scope.close()
    truth = share_of_active(CathodePillar(seed, settings.specimen), made.geometry)
    return {
        "late_s": late_s,
        "flats_s": moments["stop"] - moments["projection"],
        "rmse": error(made.volume, truth),
        "offline_rmse": error(offline.volume, truth),
        "offline_s": offline.seconds,
    }


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args()
    found = run(args.seed)
    print(f"{found['late_s']:.1f} s after the last projection, {found['flats_s']:.1f} s of it the scan's last flats")
    print(f"RMSE {found['rmse']:.4f}, made afterwards in {found['offline_s']:.0f} s {found['offline_rmse']:.4f}")
