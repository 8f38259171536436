"""What a start document says."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from event_model import sanitize_doc

from plans.instrument import Scope

TRUSTED = ("geometry", "beam", "channels")


def check_md(md: Mapping[str, Any] | None) -> None:
    """ValueError when the user gives what reconstruction has to trust: ``geometry``, ``beam``, ``channels``."""
    for key in TRUSTED:
        if key in (md or {}):
            raise ValueError(f"md: {key!r} comes from the instrument, because reconstruction trusts it; leave it out")


def link_to(start_doc: Mapping[str, Any]) -> dict[str, Any]:
    """What a later part of a measurement says of the first one; ``start_doc`` may be that of any part."""
    kept = {key: start_doc[key] for key in ("sample_name", "experiment_uid", "parent_uids") if key in start_doc}
    return {**kept, "resumes_uid": start_doc.get("resumes_uid", start_doc["uid"])}


def start_md(scope: Scope, plan: Mapping[str, Any], md: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who measured what, the plan's own words, and over them the user's, as plain numbers and lists.

    Neither argument is changed.
    """
    check_md(md)
    return sanitize_doc({"sample_name": scope.specimen.get(), "operator": getpass.getuser(), **plan, **(md or {})})
