"""Metadata in start documents."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from event_model import sanitize_doc

from plans.instrument import Scope

FROM_INSTRUMENT = ("geometry", "beam", "channels")


def check_md(md: Mapping[str, Any] | None) -> None:
    """Raise ValueError for a key that reconstruction depends on, TypeError for what a document cannot hold."""
    for key in FROM_INSTRUMENT:
        if key in (md or {}):
            raise ValueError(f"md: {key!r} comes from the instrument, and reconstruction depends on it; leave it out")
    sanitize_doc(dict(md or {}))


def link_to(start_doc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that link a further part to a measurement, from the start document of any of its parts."""
    kept = {key: start_doc[key] for key in ("sample_name", "experiment_uid", "parent_uids") if key in start_doc}
    return {**kept, "resumes_uid": start_doc.get("resumes_uid", start_doc["uid"])}


def start_md(scope: Scope, plan: Mapping[str, Any], md: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return specimen, operator, the plan's metadata and the user's ``md``, as plain numbers and lists.

    Later keys replace earlier ones.
    """
    return sanitize_doc({"sample_name": scope.specimen.get(), "operator": getpass.getuser(), **plan, **(md or {})})
