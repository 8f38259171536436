"""Select the runs that can be reconstructed or that have a volume."""

from __future__ import annotations

from pathlib import Path

from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part, find_parts
from xrm_sims.scan_type import ScanType


def tomography_parts(run: str, data: Path | None, *, imported: bool = False) -> list[Part]:
    """Return the parts of a tomography, or of an imported volume where ``imported`` allows it.

    Raises ValueError for an unknown run and for a run of another kind.
    """
    parts = find_parts(Layout.of(data).journal, run)
    kinds = (ScanType.TOMOGRAPHY, ScanType.CT_VOLUME) if imported else (ScanType.TOMOGRAPHY,)
    if parts[0].kind not in kinds:
        raise ValueError(f"run {parts[0].uid}: is a {parts[0].kind}; the uid of a tomography is needed here")
    return parts
