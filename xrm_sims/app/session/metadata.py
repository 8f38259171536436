"""What the RunEngine remembers from one session to the next: ``RE.md``, with the scan number in it."""

from __future__ import annotations

import json
from collections import UserDict
from pathlib import Path
from typing import Any

from event_model import sanitize_doc

from xrm_sims.atomic_write import write_whole


class KeptMetadata(UserDict[str, Any]):
    """A dict in a JSON file that is replaced as a whole with every change, so that a kill leaves the old or the new.

    bluesky's PersistentDict deletes a key's file before it writes the new one, and writes once more when it is
    collected, by then perhaps over another session's. What is changed inside a value is kept by :meth:`flush`.

    Raises ValueError for a file that holds no JSON table, and RuntimeError when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if path.exists():
            try:
                self.data.update(json.loads(path.read_text()))
            except ValueError as error:
                raise ValueError(f"metadata file {path}: is no JSON table; mend it or move it away") from error

    def __setitem__(self, key: str, item: Any) -> None:
        super().__setitem__(key, item)
        self.flush()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.flush()

    def flush(self) -> None:
        """Returns when everything is on disk."""
        try:
            write_whole(self.path, json.dumps(sanitize_doc(self.data), indent=2))
        except OSError as error:
            raise RuntimeError(f"metadata file {self.path}: cannot be written ({error.strerror})") from error
