"""Commands that compute from measured runs, and the closed loop that returns to the instrument with the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrm_sims.app.cli.options import SEED_HELP, AnalysisFile, Data, ExistingData, existing_data, uid_of

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Rule = Annotated[
    Path | None, typer.Option(help="TOML file that defines which ROIs are worth milling to; docs/rois.md.")
]


@app.command()
def reconstruct(
    runs: Annotated[list[str], uid_of("each tomography run")],
    sweeps: Annotated[
        int | None, typer.Option(help="Passes over all views; default: until only noise is left.")
    ] = None,
    voxel_um: Annotated[
        float | None, typer.Option(help="Edge of a voxel; default: that of the run. The field stays the same.")
    ] = None,
    tv: Annotated[
        float | None, typer.Option(help="Strength of the total-variation denoising in units of the noise; 0 for none.")
    ] = None,
    correct: Annotated[bool, typer.Option(help="Find drift, run-out and offsets from the data first.")] = True,
    sharpen: Annotated[bool, typer.Option(help="Undo the blur of the focal spot that the run records.")] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File for the volume after each sweep (a folder for several runs); an interrupted command continues "
            "from it."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address tcp://HOST:8786 of dask.distributed, whose workers compute; docs/machines.md."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures of slices and drift.")] = None,
    data: ExistingData = None,
) -> None:
    """Reconstruct the volumes of tomography runs.

    Each volume is stored in /results under the uid of its run.

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
    run: Annotated[str, uid_of("a reconstructed tomography")],
    rule: Rule = None,
    roi: Annotated[
        int | None,
        typer.Option(help="Number of an ROI: also print the time and dose to mill to it and map it; no beam."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for rois.csv, rois.png and the rule used.")] = None,
    settings: AnalysisFile = None,
    data: ExistingData = None,
) -> None:
    """Find pores and cracks in a tomogram and number them.

    Only those inside particles count. Number 1 is the best to mill to.

    Example: xrm-sims find-rois 3f2a9 --out rois
    """
    from xrm_sims.app.correlative.rois import find_rois as find

    find(run, data=data, rule=rule, settings=settings, out=out, roi=roi)


@app.command("two-target")
def two_target(
    run_w: Annotated[str, uid_of("the tomography with the tungsten target")],
    run_cu: Annotated[str, uid_of("the tomography of the same specimen with the copper target")],
    out: Annotated[Path | None, typer.Option(help="Folder for two_target.png and particles.csv.")] = None,
    settings: AnalysisFile = None,
    data: ExistingData = None,
) -> None:
    """Separate LCO from NCA in 3D with two X-ray targets.

    A run that has no volume yet is reconstructed first.

    Example: xrm-sims two-target 3f2a9 81c07 --out phases
    """
    from xrm_sims.app.tomography.two_target import two_target as separate

    separate(run_w, run_cu, data=data, out=out, settings=settings)


@app.command()
def resolution(
    run: Annotated[str, uid_of("a tomography run")],
    out: Annotated[Path | None, typer.Option(help="Folder for a picture of both curves.")] = None,
    data: ExistingData = None,
) -> None:
    """Measure the resolution of a tomogram in two ways.

    These are the width of the pillar's edge, and the Fourier shell correlation of the volumes from even and odd views.

    Example: xrm-sims resolution 3f2a9 --out pictures
    """
    from xrm_sims.app.tomography.resolution import report_sharpness

    report_sharpness(run, data=data, out=out)


@app.command()
def maps(
    run: Annotated[str, uid_of("a SIMS raster, or of any part of it")],
    ratio: Annotated[str | None, typer.Option(help="Two channels whose ratio is mapped, such as 6Li/7Li.")] = None,
    align: Annotated[bool, typer.Option(help="Correct the drift between frames before they are summed.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures: maps, ratio, depth profile.")] = None,
    settings: AnalysisFile = None,
    data: ExistingData = None,
) -> None:
    """Correct and sum the frames of a SIMS raster.

    Drift, dead time and dark counts are corrected. Isotope ratios and depth profiles are computed too.

    Example: xrm-sims maps 3f2a9 --ratio 6Li/7Li --out maps
    """
    from xrm_sims.app.maps.sims_maps import report_maps

    report_maps(run, data=data, out=out, ratio=ratio, align=align, settings_file=settings)


_MAP_OPTIONS = ("--sims-counts", "--map-depth-nm", "--fov-um", "--elements")
_MODES = {
    "--auto": ("--seed", "--num", "--binning", "--rule", *_MAP_OPTIONS),
    "one run": ("--rule", "--roi", *_MAP_OPTIONS),
    "two runs": ("--z-um", "--anywhere"),
}


@app.command()
def correlate(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Uid of a reconstructed tomography of the mounted specimen: mill to one of its ROIs and map it. "
            "With a second uid, of a raster or an SE image: only find its place in the volume, which may be imported."
        ),
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Run the whole experiment on a fresh specimen.")] = False,
    seed: Annotated[int | None, typer.Option(help=f"{SEED_HELP[:-1]}, with --auto; default: 1.")] = None,
    roi: Annotated[int | None, typer.Option(help="Number of the ROI from find-rois; default: the best.")] = None,
    rule: Rule = None,
    z_um: Annotated[
        float | None, typer.Option(help="Height of the mapped plane in the tomogram, if no image of it was registered.")
    ] = None,
    sims_counts: Annotated[
        float | None, typer.Option(help="Counts of 58Ni per pixel of NCA; default: as in the paper's map.")
    ] = None,
    map_depth_nm: Annotated[
        float | None, typer.Option(help="Largest depth that the map may sputter away; default: that of the settings.")
    ] = None,
    fov_um: Annotated[
        float | None, typer.Option(help="Width of the map; default: the ROI's particle and its surroundings.")
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="Elements for an EDS map after the SIMS map, such as Ni,Co; default: no EDS map.")
    ] = None,
    anywhere: Annotated[
        bool | None,
        typer.Option("--anywhere", help="With two runs: search all positions, rotations and heights in the volume."),
    ] = None,
    num: Annotated[
        int | None, typer.Option(min=1, help="Projections over a full turn, with --auto; default: 1200.")
    ] = None,
    binning: Annotated[
        int | None, typer.Option(min=1, max=8, help="Detector binning, with --auto; default: 4.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures and summary.json.")] = Path("correlate"),
    settings: AnalysisFile = None,
    data: Data = None,
) -> None:
    """Mill to a buried defect, map it and overlay both.

    The command stops with an error if a defect, a plane or a registration is not certain.

    Example: xrm-sims correlate --auto --seed 7 --out loop
    """
    from plans.validation import positive
    from xrm_sims.app.correlative import closed_loop
    from xrm_sims.app.correlative.findings import Choices
    from xrm_sims.app.correlative.place_map import register_runs
    from xrm_sims.correlate.settings import load_analysis_settings
    from xrm_sims.data.layout import Layout

    named = list(runs or ())
    if auto == bool(named) or len(named) > 2:
        raise ValueError(
            "correlate: needs either --auto, or a tomography, or a tomography and a sims_raster, got "
            f"{' '.join([*named, *['--auto'] * auto]) or 'nothing'}"
        )
    mode = ("--auto", "one run", "two runs")[len(named)]
    given = ["--" + name.replace("_", "-") for name, value in context.params.items() if value is not None]
    if useless := [
        name for name in given if name not in (*_MODES[mode], "--runs", "--auto", "--out", "--settings", "--data")
    ]:
        raise ValueError(
            f"correlate: with {mode} {', '.join(useless)} has no meaning; it takes {', '.join(_MODES[mode])}"
        )
    lengths = {"--sims-counts": sims_counts, "--map-depth-nm": map_depth_nm, "--fov-um": fov_um}
    positive(**{name: value for name, value in lengths.items() if value is not None})
    data = (data or out / "data") if auto else existing_data(data)
    choices = Choices(
        analysis=load_analysis_settings(Layout.of(data).root, settings, rule),
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
    if len(named) == 1:
        closed_loop.map_roi(named[0], out, data=data, roi=roi, choices=choices)
    else:
        register_runs(named[0], named[1], out, data=data, z_um=z_um, anywhere=bool(anywhere), settings=settings)
