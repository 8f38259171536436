"""Measure the resolution of a run: width of the pillar's edge, and Fourier shell correlation of two half volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import recon
from recon.quality.fourier_shell import FIXED_THRESHOLDS, Crossing
from xrm_sims.app.common.progress import stages
from xrm_sims.app.tomography.tomogram import edge_of, keep_drift, pillar_of
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import parts_of
from xrm_sims.geometry import Geometry, geometry_from_dict

INSIDE = 0.9  # of the pillar's radius: the correlation must not contain the outline


@dataclass(frozen=True, eq=False)
class Sharpness:
    """Both measures of a run's resolution.

    edge : of the mean of both half volumes; None when no free edge is in the field.
    shell : correlation below the pillar's top, in a cylinder of ``mask_radius_um``.
    crossing : with the half-bit curve; None when the volumes agree up to the limit of the voxels.
    """

    uid: str
    edge: recon.EdgeResolution | None
    shell: recon.FourierShell
    crossing: Crossing | None
    mask_radius_um: float | None
    voxel_um: float


def measure_sharpness(uid: str, data: Path | None, **options: Any) -> Sharpness:
    """Reconstruct even and odd views with the same correction, compare both volumes, and keep the curves with the run.

    The correction is that of ``/results/<uid>/drift``; if there is none, it is computed and kept there. ``options`` are
    for :func:`recon.half_volumes`; the default is no regularisation. Raises ValueError for an unknown run, for one that
    is no tomography, and for a frame file that is missing or truncated.
    """
    parts = parts_of(find_run(uid, data))
    full_uid = parts[0].start["uid"]
    with stages() as progress:
        prepared = recon.prepare_run(parts, progress)
        geometry = _kept_geometry(full_uid, data, prepared.geometry)
        if geometry is None:
            geometry = recon.correct_run(prepared, progress)
            keep_drift(full_uid, data, geometry, prepared.times_s)
        even, odd = recon.half_volumes(prepared, geometry, progress=progress, **options)
    mean = 0.5 * (even + odd)
    edge = edge_of(mean, geometry.voxel_um)
    pillar = pillar_of(mean, geometry.voxel_um)
    radius_um, slices = None, len(mean)
    if pillar is not None:
        radius_um = INSIDE * pillar.radius_um
        below_um = pillar.top_z_um - (1 - INSIDE) * pillar.radius_um  # its flat top would correlate like its outline
        slices = max(min(slices, int(below_um / geometry.voxel_um + 0.5 * slices)), slices // 2)
    shell = recon.fourier_shell_correlation(even[:slices], odd[:slices], geometry.voxel_um, mask=radius_um)
    sharpness = Sharpness(full_uid, edge, shell, shell.crossing(), radius_um, geometry.voxel_um)
    _keep(sharpness, data, options)
    return sharpness


def _kept_geometry(uid: str, data: Path | None, built: Geometry) -> Geometry | None:
    """Return the correction that is kept with the run; None when there is none or it has other views."""
    try:
        kept = results.load(data, uid, "drift")
    except ValueError:
        return None
    if "geometry" not in kept.metadata:
        return None
    geometry = geometry_from_dict(kept.metadata["geometry"])
    if geometry.num_views != built.num_views or geometry.detector_shape != built.detector_shape:
        return None
    return replace(geometry, volume_shape=built.volume_shape, voxel_um=built.voxel_um)


def _keep(sharpness: Sharpness, data: Path | None, options: dict[str, Any]) -> None:
    arrays = {
        "frequency_per_um": sharpness.shell.frequency_per_um,
        "correlation": sharpness.shell.correlation,
        "half_bit": sharpness.shell.half_bit,
    }
    about: dict[str, Any] = {"voxel_um": sharpness.voxel_um, "mask_radius_um": sharpness.mask_radius_um, **options}
    if sharpness.edge is not None:
        curves = vars(sharpness.edge.curves)
        arrays |= {f"edge_{name}": np.asarray(values) for name, values in curves.items()}
        about["edge_resolution"] = sharpness.edge.as_dict()
    if sharpness.crossing is not None:
        about["half_bit_crossing"] = vars(sharpness.crossing) | {"resolution_um": sharpness.crossing.resolution_um}
    results.save(data, sharpness.uid, "resolution", arrays, about)


def report_sharpness(uid: str, *, data: Path | None, out: Path | None) -> Sharpness:
    """Measure the resolution, print it, draw both curves."""
    sharpness = measure_sharpness(uid, data)
    if sharpness.edge is None:
        print("edge: the field shows no free, round side face of solid material, so there is no width")
    else:
        print(f"edge: {sharpness.edge}")
    if sharpness.crossing is None:
        limit_nm = 2e3 * sharpness.voxel_um
        print(f"halves: even and odd views agree up to the limit of the voxels, {limit_nm:.0f} nm (full period)")
    else:
        print(f"halves: even and odd views agree down to {sharpness.crossing}, at the half-bit threshold")
    print("both without regularisation; all views together resolve more than each half")
    if out is not None:
        print(draw_sharpness(sharpness, out))
    print(f"curves kept at /results/{sharpness.uid}/resolution")
    return sharpness


def draw_sharpness(sharpness: Sharpness, out: Path) -> Path:
    """Draw edge response and line spread, and the shell correlation with its thresholds."""
    from xrm_sims.correlate.figures import drawing

    figure = drawing.new_figure(10.0, 4.2)
    left, right = figure.subplots(1, 2)
    if sharpness.edge is None:
        drawing.no_data(left, "no free edge in the field")
    else:
        curves = sharpness.edge.curves
        drawing.edge_curves(left, curves.distance_um, curves.edge_response, curves.line_spread_per_um)
        width_nm, sigma_nm = 1e3 * sharpness.edge.fwhm_um, 1e3 * sharpness.edge.sigma_um
        left.set_title(f"edge: {width_nm:.0f} ± {sigma_nm:.0f} nm (FWHM)", fontsize=9)
    shell, crossing = sharpness.shell, sharpness.crossing
    right.plot(shell.frequency_per_um, shell.correlation, color="#d55e00", label="even against odd views")
    right.plot(shell.frequency_per_um, shell.half_bit, "--", lw=1.0, color="black", label="half bit")
    for level, style in zip(FIXED_THRESHOLDS, (":", "-."), strict=True):
        right.axhline(level, color="0.5", lw=0.8, ls=style, label=f"{level:g}")
    if crossing is not None:
        right.axvline(crossing.frequency_per_um, color="#d55e00", lw=0.8)
    agreement = "agree up to the limit of the voxels" if crossing is None else f"agree down to {crossing}"
    right.set(xlabel="spatial frequency (1/µm)", ylabel="Fourier shell correlation", ylim=(-0.1, 1.05))
    right.set_title(f"halves {agreement.replace('+-', '±')}", fontsize=9)
    right.legend(fontsize=8, frameon=False)
    return drawing.save(figure, out / "resolution.png")
