"""Night sheets as TOML files, with the line number of each invalid entry."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from plans.sheet import Sheet, SheetError, Where, read_sheet

T = TypeVar("T")
Lines = dict[Where, int]
MAX_BYTES = 1 << 20  # a larger file is no night sheet


class SheetFile:
    """A night sheet on disk. Raises ValueError with file and line if it is invalid."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(
                    f"night sheet {path}: is larger than 1 MiB, too large for a night sheet; name another file"
                )
            self.text = path.read_bytes().decode()
            self.table = tomllib.loads(self.text)
        except OSError as error:
            raise ValueError(f"night sheet {path}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise ValueError(f"night sheet {path}, line {line}: is not UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"night sheet {path}{_syntax(str(error), self.text)}") from None
        except RecursionError:
            raise ValueError(f"night sheet {path}: its tables are nested too deeply") from None
        self.sheet: Sheet = self.locate_errors(lambda: read_sheet(self.table))

    def locate_errors(self, check: Callable[[], T]) -> T:
        """Return what ``check`` returns; its SheetError becomes a ValueError with file and line."""
        try:
            return check()
        except SheetError as refused:
            line = line_of(refused.where, lines_of(self.text))
            raise ValueError(f"night sheet {self.path}, line {line}: {refused}") from None


def line_of(where: Where, lines: Lines) -> int:
    """Return the line of an entry, or of the nearest table around it."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def lines_of(text: str) -> Lines:
    """Return the line number, from 1, of each table and key of a valid TOML text.

    Lines are added to a statement until tomllib can parse it, so strings, arrays and comments are handled correctly.
    """
    lines: Lines = {}
    table: Where = ()
    count: dict[Where, int] = {}
    waiting: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        waiting.append(line)
        try:
            statement = tomllib.loads("\n".join(waiting))
        except tomllib.TOMLDecodeError:
            continue
        began, header = number - len(waiting) + 1, len(waiting) == 1 and line.lstrip().startswith("[")
        waiting.clear()
        if header:
            path, repeated = _header(statement)
            table = _counted(path, count, repeated)
            lines.setdefault(table, began)
        else:
            _note(statement, table, began, lines)
    return lines


def _header(statement: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the names in a table header, and whether it belongs to an array of tables."""
    path: list[str] = []
    rest: Any = statement
    while isinstance(rest, Mapping) and rest:
        ((name, rest),) = rest.items()
        path.append(name)
    return tuple(path), isinstance(rest, list)


def _counted(path: tuple[str, ...], count: dict[Where, int], repeated: bool) -> Where:
    """Return the path of a table: names, and for each array of tables on it the number of its last entry."""
    way: Where = ()
    for depth, name in enumerate(path, 1):
        way = (*way, name)
        if repeated and depth == len(path):
            count[way] = count.get(way, -1) + 1
        if way in count:
            way = (*way, count[way])
    return way


def _note(value: Any, way: Where, line: int, lines: Lines) -> None:
    """Give every entry inside a statement the line where the statement begins."""
    if way:
        lines.setdefault(way, line)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _note(inner, (*way, name), line, lines)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _note(inner, (*way, number), line, lines)


_IN_WORDS = {
    "cannot overwrite a value": "this key or table exists already",
    "invalid statement": "needs a table such as [[steps]] or a line such as num = 3",
    "expected '=' after a key in a key/value pair": "needs a line such as num = 3",
    "illegal character '\\n'": "a string that begins here needs its closing quote on the same line",
}


def _syntax(said: str, text: str) -> str:
    """Return tomllib's message with the line first."""
    found = re.match(r"(.*) \(at line (\d+), column \d+\)$", said, re.DOTALL)
    line = found[2] if found else max(1, len(text.splitlines()))
    what = found[1] if found else said.removesuffix(" (at end of document)")
    what = f"{what[:1].lower()}{what[1:]}"
    return f", line {line}: {_IN_WORDS.get(what, what)}"
