"""Select the runs that can be reconstructed or that have a volume."""

from __future__ import annotations

from pathlib import Path

from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part, find_parts
from xrm_sims.scan_type import ScanType


def tomography_parts(run: str, data: Path | None, purpose: str = "ROIs are looked for in") -> list[Part]:
    """The parts of a tomography; ValueError for an unknown run and for one of another kind, which is not for that."""
    parts = find_parts(Layout.of(data).journal, run)
    kind = parts[0].start.get("scan_type", parts[0].start.get("plan_name", "run"))
    if kind != ScanType.TOMOGRAPHY:
        raise ValueError(f"run {parts[0].uid}: is a {kind}, and {purpose} a tomography; name one of those")
    return parts


def ct_parts(run: str, data: Path | None) -> list[Part]:
    """The parts of what has a volume: a tomography, or a volume that was imported. ValueError for other kinds."""
    parts = find_parts(Layout.of(data).journal, run)
    if parts[0].start.get("scan_type") == ScanType.CT_VOLUME:
        return parts
    return tomography_parts(run, data)
