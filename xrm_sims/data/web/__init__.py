"""Views of the catalogue for Tiled's web UI.

``ui.yaml`` assigns views from ``views.js`` to the specs of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

HERE = Path(__file__).parent
SETTINGS = HERE / "ui.yaml"
router = APIRouter()


@router.get("/views.js", include_in_schema=False)
async def views() -> FileResponse:
    return FileResponse(HERE / "views.js", media_type="text/javascript")


def json_lines(mimetype: str, table: Any, metadata: Any) -> Iterator[bytes]:
    """Yield the rows of a table without record separators, which the UI of Tiled 0.2.20 cannot parse."""
    from tiled.serialization.table import json_sequence

    return (row.removeprefix(b"\x1e") for row in json_sequence(mimetype, table, metadata))
