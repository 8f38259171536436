"""Register a map or an image, measured here or elsewhere, with a CT volume. The instrument is not used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.common.progress import stages
from xrm_sims.app.common.rasters import raster_of_image
from xrm_sims.app.correlative.figures import draw_placed, draw_registered
from xrm_sims.app.correlative.milled_away import known_plane
from xrm_sims.app.maps.phases import make_phases
from xrm_sims.app.maps.sims_maps import Maps, make_maps
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.tomography.selection import tomography_parts
from xrm_sims.app.tomography.tomogram import kept_volume
from xrm_sims.atomic_write import write_whole
from xrm_sims.correlate.maps.drift import DriftSettings
from xrm_sims.correlate.registration.active_material import se_active, sims_active
from xrm_sims.correlate.registration.global_search import register_anywhere
from xrm_sims.correlate.registration.register import Registration, register_to_ct
from xrm_sims.correlate.settings import load_analysis_settings
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.segment import segment
from xrm_sims.data import read_counts, results
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part, find_parts
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings


@dataclass(frozen=True, eq=False)
class PlaneImage:
    """A map or an image of a plane: active material (row, column), raster, start document; ``maps`` for a map."""

    active: NDArray[np.float64]
    raster: Raster
    start: dict[str, Any]
    maps: Maps | None = None


def register_runs(
    ct_run: str,
    seen_run: str,
    out: Path,
    *,
    data: Path | None = None,
    z_um: float | None = None,
    anywhere: bool = False,
    settings: Path | None = None,
) -> dict[str, Any]:
    """Register a raster or an SE image with a CT volume, reconstructed here or imported.

    The search starts from an earlier registration of the run or of an image of its plane. With ``z_um``, it starts from
    that height and covers all positions that a mode change may give. With ``anywhere``, it covers all positions and
    rotations, and all heights unless ``z_um`` is given.

    Raises ValueError for runs of other kinds or of two specimens, without a start, and for an uncertain registration.
    """
    parts, root = tomography_parts(ct_run, data, imported=True), Layout.of(data).root
    (first, *_) = find_parts(Layout.of(data).journal, seen_run)
    _check_one_specimen(parts[0], first)
    ct, instrument = kept_volume(parts[0].uid, data), session_settings(root)
    analysis = load_analysis_settings(root, settings)
    seen = _read_plane(first, root, instrument, analysis.drift)
    known: dict[str, Any] = {}
    if anywhere:
        with stages() as progress:
            found = register_anywhere(
                seen.active,
                ct.volume,
                ct.voxel_um,
                seen.raster,
                z_um,
                analysis.anywhere,
                progress,
                analysis.registration,
                analysis.segmentation,
            )
    else:
        known = known_plane(root, seen.start) if z_um is None else {"exposed_z_um": z_um}
        guess = known["exposed_z_um"], known.get("scan_to_specimen")
        ranges = analysis.registration.unaligned() if guess[1] is None else analysis.registration
        found = register_to_ct(seen.active, ct.volume, ct.voxel_um, seen.raster, *guess, ranges, analysis.segmentation)
    defect = Defect.from_dict(known["defect"]) if "defect" in known else None
    about = found.as_dict() | ({} if defect is None else {"defect": defect.as_dict()})
    results.save(root, seen.start["uid"], "registration", metadata=about, parents=[ct.uid])
    out.mkdir(parents=True, exist_ok=True)
    if seen.maps is None:
        pictures = draw_placed(ct, found, seen.active, seen.raster, out)
        uids = {"tomography": ct.uid, "se_image": seen.start["uid"]}
    else:
        segmentation = segment(ct.volume, ct.voxel_um, analysis.segmentation)
        make_phases(seen.maps, found, segmentation, root, instrument, [ct.uid], analysis)
        pictures = draw_registered(ct, found, (seen.maps.counts, seen.start), defect, root, out)
        uids = {"tomography": ct.uid, "sims": seen.start["uid"]}
    return write_summary({"run_uids": uids, **place_of(found, seen.start)}, out, pictures)


def _read_plane(part: Part, root: Path, instrument: Settings, drift: DriftSettings) -> PlaneImage:
    kind = part.start.get("scan_type", "run")
    if kind == ScanType.SIMS_RASTER:
        maps = make_maps(part.uid, root, instrument, uncorrected_too=True, drift=drift)
        return PlaneImage(sims_active(maps.image), maps.raster, maps.start, maps)
    if kind == ScanType.SE_IMAGE:
        image, start = read_counts(part.uid, "se_image", root)
        return PlaneImage(se_active(image[0]), raster_of_image(start), start)
    raise ValueError(f"run {part.uid}: is a {kind}, and a sims_raster or an se_image is needed here")


def _check_one_specimen(ct: Part, seen: Part) -> None:
    """Compare the mounted specimens, or the sample names where one of the runs was imported."""
    mounted = [part.before.get("specimen") for part in (ct, seen)]
    named = [part.start.get("sample_name") for part in (ct, seen)]
    shown = named if None in mounted else mounted
    if None not in shown and shown[0] != shown[1]:
        raise ValueError(f"runs: the tomogram shows {shown[0]} and the map {shown[1]}; both need to be of one specimen")


def place_of(registration: Registration, start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the position of a raster for ``summary.json``."""
    rows, columns = start["shape"]
    middle = apply_affine(registration.sims_to_specimen, [[(columns - 1) / 2, (rows - 1) / 2]])[0]
    return {
        "sims_centre_um": middle.tolist(),
        "exposed_z_um": registration.exposed_z_um,
        "sims_to_specimen": registration.sims_to_specimen.tolist(),
        "sigma_nm": registration.sigma_nm,
        "registration_residual_nm": registration.residual_nm,
    }


def write_summary(summary: dict[str, Any], out: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """Write ``summary.json`` with the names of the pictures, and print all paths."""
    summary["pictures"] = [path.name for path in pictures]
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    for path in pictures:
        print(path)
    print(f"summary: {out / 'summary.json'}")
    return summary
