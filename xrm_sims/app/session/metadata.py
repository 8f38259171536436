"""Metadata ``RE.md`` that is kept from one session to the next, with the scan number."""

from __future__ import annotations

import json
from collections import UserDict
from pathlib import Path
from typing import Any

from event_model import sanitize_doc

from xrm_sims.atomic_write import write_whole


class KeptMetadata(UserDict[str, Any]):
    """A dict in a JSON file, which is replaced as a whole at every change: a killed process leaves the old or the new.

    bluesky's PersistentDict deletes a key's file before it writes the new one, and writes again at garbage collection,
    perhaps over the file of a later session. Call :meth:`flush` after a change inside a value.

    Raises ValueError for a file without a JSON table, and RuntimeError when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if path.exists():
            try:
                self.data.update(json.loads(path.read_text()))
            except ValueError as error:
                raise ValueError(f"metadata file {path}: is not a JSON table; correct it or move it away") from error

    def __setitem__(self, key: str, item: Any) -> None:
        super().__setitem__(key, item)
        self.flush()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.flush()

    def flush(self) -> None:
        """Write everything to disk."""
        try:
            write_whole(self.path, json.dumps(sanitize_doc(self.data), indent=2))
        except OSError as error:
            raise RuntimeError(f"metadata file {self.path}: cannot be written ({error.strerror})") from error
