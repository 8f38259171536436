"""Night sheets as TOML files, and the line on which something stands that cannot be done."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from plans.sheet import Sheet, SheetError, Where, read_sheet

T = TypeVar("T")
Lines = dict[Where, int]
MOST_BYTES = 1 << 20  # nobody writes a night longer than that; something else was named by mistake


class SheetFile:
    """A night sheet on disk. ValueError naming file and line for what is no sheet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"night sheet {path}: is larger than any night sheet; name another file")
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
            raise ValueError(f"night sheet {path}: is nested deeper than any night sheet") from None
        self.sheet: Sheet = self.asking(lambda: read_sheet(self.table))

    def asking(self, question: Callable[[], T]) -> T:
        """The answer; what it refuses comes as a ValueError that names file and line."""
        try:
            return question()
        except SheetError as refused:
            line = line_of(refused.where, lines_of(self.text))
            raise ValueError(f"night sheet {self.path}, line {line}: {refused}") from None


def line_of(where: Where, lines: Lines) -> int:
    """The line of an entry, or of the nearest table around it."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def lines_of(text: str) -> Lines:
    """Line numbers, from 1, of every table and key of a TOML text that can be parsed.

    Each statement is found by adding lines until TOML's own parser takes them, so that strings, arrays and comments
    are what TOML says they are.
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
    """The names of a table header, and whether it is one of an array of tables."""
    path: list[str] = []
    rest: Any = statement
    while isinstance(rest, Mapping) and rest:
        ((name, rest),) = rest.items()
        path.append(name)
    return tuple(path), isinstance(rest, list)


def _counted(path: tuple[str, ...], count: dict[Where, int], repeated: bool) -> Where:
    """The way to a table: names, and the number of the last entry of every array of tables that it leads through."""
    way: Where = ()
    for depth, name in enumerate(path, 1):
        way = (*way, name)
        if repeated and depth == len(path):
            count[way] = count.get(way, -1) + 1
        if way in count:
            way = (*way, count[way])
    return way


def _note(value: Any, way: Where, line: int, lines: Lines) -> None:
    """Everything inside a statement stands where the statement begins."""
    if way:
        lines.setdefault(way, line)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _note(inner, (*way, name), line, lines)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _note(inner, (*way, number), line, lines)


_IN_WORDS = {
    "cannot overwrite a value": "this key or table is there already",
    "invalid statement": "needs a table such as [[steps]] or a line such as num = 3",
    "expected '=' after a key in a key/value pair": "needs a line such as num = 3",
    "illegal character '\\n'": "a text that begins here needs its closing quote on the same line",
}


def _syntax(said: str, text: str) -> str:
    """tomllib's complaint, the line first."""
    found = re.match(r"(.*) \(at line (\d+), column \d+\)$", said, re.DOTALL)
    line = found[2] if found else max(1, len(text.splitlines()))
    what = found[1] if found else said.removesuffix(" (at end of document)")
    what = f"{what[:1].lower()}{what[1:]}"
    return f", line {line}: {_IN_WORDS.get(what, what)}"
