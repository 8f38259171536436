"""Find out what earlier milling has removed from a specimen, so that nobody mills to an ROI that is gone.

The position of a milling in the specimen is that of the registered image or map of its plane. Without one, it is only
known within the offset that a mode change gives the scan frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xrm_sims.correlate.volume.ranking import Roi
from xrm_sims.data import results
from xrm_sims.data.journal import read_starts
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Milled, pattern_from_dict
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import ModeChange

HALF_GONE_UM = 0.1  # a plane less than this above the middle of an ROI has cut it open


def check_not_milled_away(data: Path, tomography: Sequence[Part], roi: Roi, mode_change: ModeChange) -> None:
    """Raise ValueError when an ROI was milled away, or may have been, since its tomogram was measured."""
    starts = read_starts(Layout.of(data).journal).values()
    later = [start for start in starts if start["time"] > tomography[-1].start["time"]]
    placed = _placed(data, later)
    x, y, z = roi.defect.centre_um
    for start in later:
        if start.get("scan_type") != ScanType.MILLING:
            continue
        pattern = pattern_from_dict(start["pattern"])
        assert isinstance(pattern, Milled)
        low, high = (np.array(corner) for corner in pattern.extent_um)
        if (found := placed.get(start["uid"])) is not None:
            at = apply_affine(invert_affine(found["scan_to_specimen"]), [[x, y]])[0]
            gone, margin_um, sure = found["exposed_z_um"] <= z + HALF_GONE_UM, 0.0, "was"
        else:
            at = np.array([x, y])
            gone, margin_um, sure = pattern.depth_um >= roi.defect.depth_um, max(mode_change.offset_um), "may have been"
        if gone and ((at > low - margin_um) & (at < high + margin_um)).all():
            raise ValueError(
                f"roi: {roi.number} {sure} milled away by run {start['uid'][:8]} since the tomogram was measured; "
                "choose another, or measure a new tomogram"
            )


def known_plane(data: Path, raster: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``scan_to_specimen``, ``exposed_z_um`` and perhaps ``defect`` of the plane of a raster.

    ``raster`` is its start document. Raises ValueError when neither it nor an image of the same plane was registered.
    """
    milled = set(raster.get("parent_uids", [])[-1:])
    starts = read_starts(Layout.of(data).journal).values()
    images = [start for start in starts if milled & set(start.get("parent_uids", [])[-1:])]
    for run in (raster, *images):
        if (about := _registered(data, run)) is not None:
            return about
    raise ValueError(f"run {raster['uid']}: the height of its plane in the tomogram is unknown; give it with --z-um")


def _placed(data: Path, starts: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the registration of each milling's plane by the uid of the milling."""
    return {
        start["parent_uids"][-1]: about
        for start in starts
        if start.get("parent_uids") and (about := _registered(data, start)) is not None
    }


def _registered(data: Path, start: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the registration of an image or map of a plane; None without one."""
    kind = {ScanType.SE_IMAGE: "plane", ScanType.SIMS_RASTER: "registration"}.get(start.get("scan_type", ""))
    try:
        return None if kind is None else results.load(data, start["uid"], kind).metadata
    except ValueError:
        return None
