"""What people see of the catalogue in Tiled's web UI beyond its lists of uids.

Tiled's UI shows a node whose spec has a view of its own with that: ``views.js`` has them, ``ui.yaml`` says where.
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
    """Rows of a table for Tiled 0.2.20's UI, which cannot parse the record separators that its server sends."""
    from tiled.serialization.table import json_sequence

    return (row.removeprefix(b"\x1e") for row in json_sequence(mimetype, table, metadata))
