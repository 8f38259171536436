"""Database of the catalogue: SQLite files in the data root, or one PostgreSQL database.

The file ``Layout.database``, written by ``moving``, holds the PostgreSQL URI for all processes of the data root.
Frames, journals and arrays are files in both cases.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from xrm_sims.atomic_write import publish
from xrm_sims.data.layout import Layout

SCHEMES = ("postgresql", "postgres")
_CATALOGUES: dict[str, list[dict[str, str]]] = {
    "runs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
    "results": [{"name": "Results", "version": "1.0"}],  # only for the web UI
}


def database_of(layout: Layout) -> str | None:
    """Return the URI of the PostgreSQL database; None for SQLite files."""
    try:
        return layout.database.read_text().strip()
    except FileNotFoundError:
        return None


def trees(layout: Layout, uri: str | None) -> list[dict[str, Any]]:
    """Return ``/runs`` and ``/results`` for Tiled's configuration; create their databases when they do not exist.

    Raises as :func:`prepare_postgresql`.
    """
    if uri:
        prepare_postgresql(uri)
    return [_in_postgresql(layout, name, uri) if uri else _in_sqlite(layout, name) for name in _CATALOGUES]


def without_password(uri: str) -> str:
    parts = urlsplit(uri)
    where = parts.hostname or ""
    if parts.port:
        where += f":{parts.port}"
    return urlunsplit((parts.scheme, where, parts.path, "", ""))


def _in_sqlite(layout: Layout, name: str) -> dict[str, Any]:
    path = layout.tiled / f"{name}.db"
    make_sqlite(path)
    tables = f"sqlite:///{layout.tiled / f'{name}-tables.db'}"
    return _tree(layout, name, uri=str(path), writable_storage=[str(layout.tiled / name), tables])


def _in_postgresql(layout: Layout, name: str, uri: str) -> dict[str, Any]:
    """Put both catalogues as containers into one database, with their tables."""
    uri = f"postgresql://{uri.partition('://')[2]}"
    folder = layout.tiled / "postgresql" / name
    return _tree(layout, name, uri=uri, writable_storage=[str(folder), uri], mount_node=name)


def _tree(layout: Layout, name: str, **args: Any) -> dict[str, Any]:
    args |= {"readable_storage": [str(layout.frames)], "specs": _CATALOGUES[name]}
    return {"path": f"/{name}", "tree": "catalog", "args": args}


def make_sqlite(path: Path, kind: str = "catalog") -> None:
    """Create an empty Tiled database unless the file exists."""
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        beside.unlink(missing_ok=True)
        _initialize(f"sqlite+aiosqlite:///{beside}", kind)
        publish(beside, path)


def _initialize(uri: str, kind: str = "catalog") -> None:
    """Do what ``tiled catalog init`` does, without the seconds that a separate process takes."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import stamp_head

    core = import_module(f"tiled.{kind}.core")
    constants = import_module(f"tiled.{kind}.alembic_constants")

    async def create() -> None:
        engine = create_async_engine(uri)
        await core.initialize_database(engine)
        await engine.dispose()

    def run() -> None:
        asyncio.run(create())
        stamp_head(constants.ALEMBIC_INI_TEMPLATE_PATH, constants.ALEMBIC_DIR, uri)

    with ThreadPoolExecutor(1) as own_thread:  # the thread of the caller may run an event loop
        own_thread.submit(run).result()


def prepare_postgresql(uri: str) -> None:
    """Create Tiled's tables in an empty PostgreSQL database; do nothing when they exist.

    Raises ValueError for an invalid URI, RuntimeError when the server does not answer or refuses.
    """
    from sqlalchemy.exc import SQLAlchemyError
    from tiled.alembic_utils import UninitializedDatabase
    from tiled.catalog.core import check_catalog_database

    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        raise ValueError(f"{without_password(uri)!r}: needs postgresql://user@host/name of a database that exists")
    engine_uri = f"postgresql+asyncpg://{uri.partition('://')[2]}"

    async def is_ready() -> bool:
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(engine_uri)
        try:
            await check_catalog_database(engine)
        except UninitializedDatabase:
            return False
        finally:
            await engine.dispose()
        return True

    try:
        with ThreadPoolExecutor(1) as own_thread:
            ready = own_thread.submit(lambda: asyncio.run(is_ready())).result()
        if not ready:
            _initialize(engine_uri)
    except (OSError, SQLAlchemyError) as error:
        raise RuntimeError(f"the database {without_password(uri)} cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0].removeprefix("<class ").split(">: ")[-1]
