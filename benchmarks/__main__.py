"""`make bench`: run all benchmarks and write RESULTS.md; one part only: `python -m benchmarks projectors`."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks import (
    closed_loop,
    find,
    machines,
    orchestration,
    phases,
    planner,
    recon_alignment,
    recon_full,
    recon_live,
    recon_regularised,
    recon_sart,
    recon_scaling,
    recon_slices,
    serving,
    twin,
)
from benchmarks.recon_phantom import CASES

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = """# Benchmarks

`make bench` measures them all. Both sides of a ratio ran one after the other in one process.
"""


class Row(NamedTuple):
    """One line of the table."""

    what: str
    here: str
    beside: str
    ratio: str


def beside_rtk(what: str, found: dict[str, Any]) -> Row:
    return Row(
        what,
        f"{found['seconds']:.2f} s (compiling {found['compile_s']:.1f} s), RMSE {found['rmse']:.3e}",
        f"itk-rtk {found.get('peer', '')} {found['peer_seconds']:.2f} s, RMSE {found['peer_rmse']:.3e}",
        f"{found['speed_ratio']:.1f} times as fast, error {found['error_ratio']:.3f}",
    )


def plain_sart() -> Iterator[Row]:
    """Plain SART at equal settings: relaxation 0.3, one view per subset, from zero, no total variation."""
    for case in CASES:
        for sweeps in (1, 3):
            yield beside_rtk(f"{case}, plain SART, {sweeps} sweep(s)", recon_sart.run(case, sweeps))


def time_to_error() -> Iterator[Row]:
    for case in CASES:
        for noisy in (False, True):
            noise = "noise of 1,453 counts" if noisy else "no noise"
            yield beside_rtk(f"{case}, {noise}, default arguments", recon_sart.time_to_error(case, noisy))


def filtered() -> Iterator[Row]:
    for case in CASES:
        yield beside_rtk(f"{case}, FDK", recon_sart.filtered(case))


def projectors() -> Iterator[Row]:
    for size, rate in recon_sart.projectors().items():
        for name in ("project", "backproject"):
            yield Row(f"{size}, {name}", f"{rate[name]:.2f} G voxel views / s", "", "")


def scaling() -> Iterator[Row]:
    for size, found in recon_scaling.run().items():
        yield Row(
            f"scaling, {size}",
            f"FDK {found['fdk_s']:.2f} s ({found['rate']:.2f} G voxel views / s), SART sweep {found['sart_s']:.2f} s",
            f"{found['peak_mb']:.0f} MB beyond the data",
            "",
        )


def slices() -> Iterator[Row]:
    found = recon_slices.run()
    for key in sorted(key for key in found if key.endswith("_ratio")):
        beam, peer, _ = key.split("_")
        yield Row(
            f"{'32 slices' if beam == 'stack' else 'one slice'}, {'parallel' if beam == 'stack' else beam} beam, SART, "
            "one sweep",
            f"{found[f'{beam}_own_s']:.2f} s, RMSE {found[f'{beam}_own_rmse']:.3e}",
            f"{peer} {found[f'{beam}_{peer}_s']:.2f} s, RMSE {found[f'{beam}_{peer}_rmse']:.3e}",
            f"{found[key]:.1f} times as fast",
        )


def regularised() -> Iterator[Row]:
    """Errors relative to the truth blurred by the focal spot, and to the sharp truth."""
    for seed in (5, 21):
        found = recon_regularised.run(seed)
        for side, how in (("", "default"), ("sharp_", "focal spot undone")):
            here, plain = ([found[f"{s}{key}"] for key in ("seen_rmse", "rmse", "edge_um")] for s in (side, "plain_"))
            said, beside = (f"RMSE {a:.4f} (sharp truth {b:.4f}), edge {1e3 * c:.0f} nm" for a, b, c in (here, plain))
            seen, sharp, edge = (a / b for a, b in zip(here, plain, strict=True))
            yield Row(
                f"pillar {seed}, 1,453 counts, {how} against the best of 1 to 3 plain sweeps",
                said,
                beside,
                f"error {seen:.2f} ({sharp:.2f}), edge {edge:.3f}",
            )


def full_size() -> Iterator[Row]:
    for radius_um in (recon_full.PILLAR_UM, None):
        found = recon_full.run(60, radius_um)
        yield Row(
            f"1,200 x 256 x 1280 into 256 x 1280 x 1280, {'support' if radius_um else 'no support'}, from 60 views",
            f"{found['sweep_s'] / 60:.1f} min a sweep, {found['smooth_s']:.0f} s denoising",
            f"{found['peak_gb']:.2f} GB resident",
            "",
        )


def many_machines() -> Iterator[Row]:
    found = machines.runs()
    yield Row(
        f"{machines.RUNS} runs at demo scale, {machines.WORKERS} workers of dask.distributed on this machine",
        f"{found['shared_s']:.1f} s, {found['peak_mb']:.0f} MB in the largest worker",
        f"one process, all cores {found['alone_s']:.1f} s",
        f"{found['alone_s'] / found['shared_s']:.2f} times as fast, volumes differ by {found['apart']:.0e} at most",
    )
    for margin, slab in machines.slabs().items():
        yield Row(
            f"one run in two slabs of z, margin of {margin} slices",
            f"{slab['rms']:.2f} of the noise apart (rms), {slab['worst']:.0f} at worst",
            "whole",
            f"{slab['cost']:.2f} times the work",
        )


def alignment() -> Iterator[Row]:
    for name, value in recon_alignment.run().items():
        yield Row(f"blind correction, {name}", f"{value:.3f}", "", "")


def live() -> Iterator[Row]:
    found = recon_live.run()
    yield Row(
        "volume of a scan that is going on, demo scale, after its last projection",
        f"{found['late_s']:.1f} s ({found['flats_s']:.1f} s of it the last flats), RMSE {found['rmse']:.4f}",
        f"made afterwards {found['offline_s']:.1f} s, RMSE {found['offline_rmse']:.4f}",
        f"error {found['rmse'] / found['offline_rmse']:.3f}",
    )


def cost_of_a_projection() -> Iterator[Row]:
    cost = orchestration.run()
    yield Row(
        "1,200 projections, 320 x 64, per projection",
        f"{cost['recorded_ms']:.1f} ms with journal and Tiled",
        f"RunEngine, device and file alone {cost['device_ms']:.1f} ms",
        "limit 10 ms",
    )


def simulated_scan() -> Iterator[Row]:
    found = twin.run()
    yield Row(
        "twin, 1,200 projections of 256 x 1280 with spectrum, spot, charge sharing, noise and HDF5",
        f"{found['scan_s']:.0f} s, {found['faster']:.0f} times real time",
        f"peak memory {found['shorter_mb']:.0f} MB over 20 views, {found['longer_mb']:.0f} MB over 60",
        "limit 300 s",
    )
    yield Row("twin, SIMS frame of 512 x 512 x 4", f"{found['sims_s']:.2f} s", "", "limit 1 s")


def rois() -> Iterator[Row]:
    """Pores and cracks found in scans of the twin, compared with its truth."""
    for scale, seeds in find.SEEDS.items():
        found = find.run(scale, seeds)
        for what, limit in (("pores", "limit 0.9"), ("cracks", "limit 0.7")):
            hits, right, large = found.of(what)
            yield Row(
                f"{what}, {find.SCALES[scale]}, specimens {', '.join(map(str, seeds))}",
                f"recall {find.share(hits)}, precision {find.share(right)}, of those found to be as large "
                f"{find.share(large)}",
                f"search {found.seconds / len(seeds):.0f} s",
                limit if scale == "full" else "",
            )


def planned() -> Iterator[Row]:
    """Results of protocols on the twin beside the planner's predictions."""
    for each in planner.run(3):
        yield Row(
            f"{each.protocol}, {each.what}",
            f"{each.measured:.4g} {each.unit} on the twin".replace("  ", " "),
            f"{each.predicted:.4g} predicted",
            f"{each.ratio:.2f}, limit {1 - planner.LIMIT:g} to {1 + planner.LIMIT:g}",
        )


def closed_loops() -> Iterator[Row]:
    """Closed loops from a fresh specimen to the map of a buried defect, and its phases, compared with the truth."""
    loops = []
    with TemporaryDirectory() as folder:
        for seed in closed_loop.SEEDS:
            loop = closed_loop.measure(seed, Path(folder))
            loops.append(loop)
            named = "" if loop.why else f"phases of {phases.score(Path(folder) / str(seed)).plane:.2%} of active pixels"
            yield Row(f"specimen {loop}", named, "limit 95 %" if named else "", "hit" if loop.hit else "missed")
    off_nm = float(np.median([loop.map_nm for loop in loops if not loop.why]))
    yield Row("defects hit", f"{sum(loop.hit for loop in loops)} of {len(loops)}", "limit 9 of 10", "")
    covered = sum(loop.covered for loop in loops)
    yield Row("registration, median error", f"{off_nm:.0f} nm, within the stated in {covered}", "limit 100 nm, 8", "")


def served() -> Iterator[Row]:
    """A volume of 256 x 1280 x 1280 behind ``xrm-sims serve``; the readers are on the same cores."""
    found = serving.run()
    alone, many = found["alone"], found["many"]
    if "picture_s" in found:
        yield Row("first picture of the volume in Chromium", f"{found['picture_s']:.2f} s", "", "limit 2 s")
    yield Row(
        "one reader of slices of 1280 x 1280",
        f"{alone['rate']:.1f} slices / s, median {alone['median_s']:.3f} s",
        f"the volume with its smaller scales was kept in {found['keep_s']:.0f} s",
        "",
    )
    yield Row(
        f"{serving.READERS} readers at once",
        f"{many['rate']:.1f} slices / s, slowest {many['slowest_s']:.2f} s, errors {len(many['errors'])}",
        f"server {found['peak_mb']:.0f} MB at most, {found['idle_mb']:.0f} MB before",
        "",
    )
    for kind, share in found["slowed"].items():
        yield Row(f"a scan beside these readers, frames {kind}", f"{100 * share:+.1f} % longer", "", "limit 5 %")


PARTS = (
    plain_sart,
    time_to_error,
    filtered,
    projectors,
    scaling,
    slices,
    regularised,
    full_size,
    many_machines,
    alignment,
    live,
    cost_of_a_projection,
    simulated_scan,
    rois,
    closed_loops,
    planned,
    served,
)


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def section(name: str, rows: list[Row]) -> str:
    """Return one part of the results with date and computer of the measurement."""
    head = [Row("what", "this package", "peer or limit", "ratio"), Row("---", "---", "---", "---")]
    lines = [
        f"## {name}",
        "",
        f"{date.today().isoformat()}, `python -m benchmarks {name}`, {os.cpu_count()} cores of {processor()}, "
        f"Python {platform.python_version()}",
        "",
        *(f"| {' | '.join(row)} |" for row in head + rows),
        "",
    ]
    return "\n".join(lines)


def known_sections() -> dict[str, str]:
    """Return the parts of RESULTS.md."""
    if not RESULTS.exists():
        return {}
    parts = re.split(r"^(?=## )", RESULTS.read_text(), flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def keep(sections: dict[str, str]) -> None:
    ordered = [sections[part.__name__] for part in PARTS if part.__name__ in sections]
    RESULTS.write_text("\n".join([HEADING, *ordered]))


def main() -> None:
    """Measure the given parts, writing each to RESULTS.md at once; all others stay as they are."""
    names = {part.__name__: part for part in PARTS}
    cli = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    cli.add_argument("parts", nargs="*", metavar="part", help=f"all, or some of: {', '.join(names)}")
    chosen = cli.parse_args().parts or list(names)
    if unknown := [name for name in chosen if name not in names]:
        cli.error(f"unknown part {unknown[0]!r}; choose from {', '.join(names)}")
    for name in chosen:
        rows = []
        for row in names[name]():
            rows.append(row)
            print(" | ".join(row), flush=True)
        keep(known_sections() | {name: section(name, rows)})


if __name__ == "__main__":
    main()
