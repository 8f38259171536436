"""Provenance in every exported file: sample, operator, time, runs, versions of software, and licence."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Provenance:
    """Provenance of a file; ``measured`` is the start of its first run (ISO 8601, UTC)."""

    title: str
    run_uids: tuple[str, ...]
    scan_type: str
    sample_name: str
    operator: str
    measured: str
    licence: str
    measured_with: dict[str, str] = field(default_factory=dict)
    written_by: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain strings, lists and dictionaries, for JSON."""
        return asdict(self) | {"run_uids": list(self.run_uids)}

    def as_text(self) -> str:
        """Return one line ``name: value`` for each field."""
        lines = {
            **self.as_dict(),
            "run_uids": " ".join(self.run_uids),
            "measured_with": ", ".join(f"{name} {version}" for name, version in self.measured_with.items()),
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items())


def provenance_of_runs(starts: Sequence[Mapping[str, Any]], what: str, licence: str | None = None) -> Provenance:
    """Return the provenance from start documents; ``licence`` replaces theirs.

    Parameters
    ----------
    starts : start document of each part, in order.
    what : the kind of data, for the title.
    """
    first = starts[0]
    return Provenance(
        title=f"{what} of {first.get('sample_name', 'an unnamed sample')}",
        run_uids=tuple(str(start["uid"]) for start in starts),
        scan_type=str(first.get("scan_type", "run")),
        sample_name=str(first.get("sample_name", "")),
        operator=str(first.get("operator", "")),
        measured=first.get("imported", {}).get("measured") or iso(first["time"]),
        licence=licence or first.get("licence") or NOT_STATED,
        measured_with={name: str(version) for name, version in first.get("versions", {}).items()},
        written_by=f"xrm-sims {importlib.metadata.version('xrm-sims')}",
    )


def iso(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
