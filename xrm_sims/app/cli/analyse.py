"""The commands that make something of what was measured: volume, ROIs, sharpness, maps, and the loop that goes back to
the instrument with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.cli.options import Data, ExistingData, existing_data

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def reconstruct(
    runs: Annotated[list[str], typer.Argument(help="Uids of tomography runs, or their first five characters or more.")],
    sweeps: Annotated[
        int | None, typer.Option(help="Passes over all views; default: until the noise is reached.")
    ] = None,
    voxel_um: Annotated[
        float | None, typer.Option(help="Edge of a voxel; default: the run's. Covers the same field.")
    ] = None,
    tv: Annotated[
        float | None,
        typer.Option(help="Total-variation denoising in units of the noise, 0 for none; default: the usual."),
    ] = None,
    correct: Annotated[bool, typer.Option(help="Find drift, run-out and offsets from the data first.")] = True,
    sharpen: Annotated[bool, typer.Option(help="Undo the blur of the focal spot that the run tells of.")] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File for the volume after each sweep (several runs: a folder); an interrupted command goes on there.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="dask.distributed's, tcp://HOST:8786; its workers do it: docs/machines.md."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures: slices and drift.")] = None,
    data: ExistingData = None,
) -> None:
    """Reconstruct tomograms from their documents; the volume goes to /results beside the run.

    Example: xrm-sims reconstruct 3f2a9 --voxel-um 0.4 --out pictures
    """
    from xrm_sims.app.tomography.reconstruct import reconstruct_runs

    reconstruct_runs(
        runs,
        data=data,
        out=out,
        checkpoint=checkpoint,
        scheduler=scheduler,
        voxel_um=voxel_um,
        sweeps=sweeps,
        correct=correct,
        sharpen=sharpen,
        **({} if tv is None else {"tv": tv}),
    )


@app.command("find-rois")
def find_rois(
    run: Annotated[
        str, typer.Argument(help="Uid of a reconstructed tomography, or its first five characters or more.")
    ],
    rule: Annotated[
        Path | None, typer.Option(help="TOML file that says what is worth milling to; docs/rois.md.")
    ] = None,
    roi: Annotated[
        int | None, typer.Option(help="Number of one; say what it takes to dig to it and map it; no beam.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for rois.csv, rois.png and the rule used.")] = None,
    data: ExistingData = None,
) -> None:
    """Find pores and cracks inside the particles of a tomogram and number them, the best to mill to first.

    Example: xrm-sims find-rois 3f2a9 --out rois
    """
    from xrm_sims.app.correlative.rois import find_rois as find

    find(run, data=data, rule=rule, out=out, roi=roi)


@app.command("two-target")
def two_target(
    run_w: Annotated[
        str, typer.Argument(help="Uid of the tomography with tungsten, or its first five characters or more.")
    ],
    run_cu: Annotated[str, typer.Argument(help="Uid of the one with copper, of the same specimen.")],
    out: Annotated[Path | None, typer.Option(help="Folder for two_target.png and particles.csv.")] = None,
    data: ExistingData = None,
) -> None:
    """Tell LCO from NCA in 3D by tomograms with two X-ray targets; reconstructs those that have no volume yet.

    Example: xrm-sims two-target 3f2a9 81c07 --out phases
    """
    from xrm_sims.app.tomography.two_target import two_target as tell

    tell(run_w, run_cu, data=data, out=out)


@app.command()
def resolution(
    run: Annotated[str, typer.Argument(help="Uid of a tomography run, or its first five characters or more.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the picture of both curves.")] = None,
    data: ExistingData = None,
) -> None:
    """Say how sharp a tomogram is: width of the pillar's edge, and down to where even and odd views agree.

    Example: xrm-sims resolution 3f2a9 --out pictures
    """
    from xrm_sims.app.tomography.resolution import report_sharpness

    report_sharpness(run, data=data, out=out)


@app.command()
def maps(
    run: Annotated[str, typer.Argument(help="Uid of a SIMS raster, any part of it, or its first five characters.")],
    ratio: Annotated[str | None, typer.Option(help="Two channels whose ratio is mapped, such as 6Li/7Li.")] = None,
    align: Annotated[bool, typer.Option(help="Undo the drift between frames, or sum them as they are.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures: maps, ratio, depth profile.")] = None,
    data: ExistingData = None,
) -> None:
    """Sum the frames of a SIMS raster, drift, dead time and darks corrected; ratios of isotopes, depth profiles.

    Example: xrm-sims maps 3f2a9 --ratio 6Li/7Li --out maps
    """
    from xrm_sims.app.maps.sims_maps import report_maps

    report_maps(run, data=data, out=out, ratio=ratio, align=align)


_OF_THE_MAP = ("--sims-counts", "--map-depth-nm", "--fov-um", "--elements")
_FITTING = {
    "--auto": ("--seed", "--num", "--binning", "--rule", *_OF_THE_MAP),
    "one run": ("--rule", "--roi", *_OF_THE_MAP),
    "two runs": ("--z-um", "--anywhere"),
}


@app.command()
def correlate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Uid of a reconstructed tomography of the mounted specimen: mill to one of its ROIs and map it. With "
            "the uid of a raster or an SE image after it: only place that in the volume, which may be an imported one."
        ),
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="The whole experiment, from a fresh specimen on.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the specimen and of all chance, with --auto; default: 1.")
    ] = None,
    roi: Annotated[int | None, typer.Option(help="Number that find-rois gave; default: the best.")] = None,
    rule: Annotated[
        Path | None, typer.Option(help="TOML file that says what is worth milling to; docs/rois.md.")
    ] = None,
    z_um: Annotated[
        float | None, typer.Option(help="Height of the mapped plane in the tomogram, where no image told it.")
    ] = None,
    sims_counts: Annotated[
        float | None,
        typer.Option(help="Counts of 58Ni from a pixel of NCA; default: as the paper's map has."),
    ] = None,
    map_depth_nm: Annotated[
        float | None, typer.Option(help="What the map may consume; default: the settings'.")
    ] = None,
    fov_um: Annotated[
        float | None, typer.Option(help="Width of the map; default: as wide as the ROI's particle asks.")
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(help="Then map these by EDS and place that too, such as Ni,Co; default: none."),
    ] = None,
    anywhere: Annotated[
        bool | None,
        typer.Option("--anywhere", help="Of two runs nothing is known: look at all places, rotations and heights."),
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(min=1, help="Projections over a full turn, with --auto; default: 1200."),
    ] = None,
    binning: Annotated[
        int | None, typer.Option(min=1, max=8, help="Detector binning, with --auto; default: 4.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures and summary.json.")] = Path("correlate"),
    data: Data = None,
) -> None:
    """Go from a tomogram to the chemistry of a buried defect: mill to it, look, map it, overlay; refuse rather than
    guess.

    Example: xrm-sims correlate --auto --seed 7 --out loop
    """
    from plans.validation import positive
    from xrm_sims.app.correlative import closed_loop
    from xrm_sims.app.correlative.findings import Choices
    from xrm_sims.app.correlative.place_map import register_runs
    from xrm_sims.correlate.volume.ranking import DefectRule, load_rule

    named = list(runs or ())
    if auto == bool(named) or len(named) > 2:
        raise ValueError(
            "correlate: needs either --auto, or a tomography, or a tomography and a sims_raster, got "
            f"{' '.join([*named, *['--auto'] * auto]) or 'nothing'}"
        )
    way = ("--auto", "one run", "two runs")[len(named)]
    wishes = {"--sims-counts": sims_counts, "--map-depth-nm": map_depth_nm, "--fov-um": fov_um}
    given: dict[str, object] = {
        "--seed": seed,
        "--num": num,
        "--binning": binning,
        "--rule": rule,
        "--roi": roi,
        **wishes,
    }
    given |= {"--elements": elements, "--z-um": z_um, "--anywhere": anywhere}
    if useless := [name for name, value in given.items() if value is not None and name not in _FITTING[way]]:
        takes = ", ".join(_FITTING[way])
        raise ValueError(f"correlate: with {way} {', '.join(useless)} has no meaning; it takes {takes}")
    positive(**{name: value for name, value in wishes.items() if value is not None})
    choices = Choices(
        rule=DefectRule() if rule is None else load_rule(rule),
        fov_um=fov_um,
        sims_counts=sims_counts,
        map_depth_nm=map_depth_nm,
        elements=tuple(name.strip() for name in (elements or "").split(",") if name.strip()),
    )
    if auto:
        scan = {**closed_loop.TOMOGRAPHY, **({} if binning is None else {"binning": binning})}
        if num is not None:
            scan |= {"num": num, "step_deg": 360.0 / num}
        closed_loop.run_closed_loop(out, seed=1 if seed is None else seed, data=data, tomography=scan, choices=choices)
        return
    data = existing_data(data)
    if len(named) == 1:
        closed_loop.go_on(named[0], out, data=data, roi=roi, choices=choices)
    else:
        register_runs(named[0], named[1], out, data=data, z_um=z_um, anywhere=bool(anywhere))
