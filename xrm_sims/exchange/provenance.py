"""What every exported file says of its data: whose, of what, measured when, from which runs, by which versions, and
under which licence it may be used."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

NOT_STATED = "not stated"


@dataclass(frozen=True)
class About:
    """Facts of the runs behind a file; ``measured`` is the beginning of the first of them (ISO 8601, UTC)."""

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
        """Plain strings, lists and tables."""
        return asdict(self) | {"run_uids": list(self.run_uids)}

    def as_text(self) -> str:
        """One ``name: value`` per line."""
        words = {
            **self.as_dict(),
            "run_uids": " ".join(self.run_uids),
            "measured_with": ", ".join(f"{name} {version}" for name, version in self.measured_with.items()),
        }
        return "\n".join(f"{name}: {value}" for name, value in words.items())


def about_runs(starts: Sequence[Mapping[str, Any]], what: str, licence: str | None = None) -> About:
    """About data of runs, from their start documents; ``licence`` stands over the one they state.

    Parameters
    ----------
    starts : one for each part, the first part first.
    what : the kind of data, for the title.
    """
    first = starts[0]
    return About(
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
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
