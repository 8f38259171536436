"""Sections of a settings file: frozen models that refuse unknown keys by name, and their reader."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Length = Positive
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, what: str = "settings file") -> dict[str, Any]:
    """Return the tables of a TOML file. Raises ValueError naming the file when it cannot be read."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{what} {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{what} {path}: not valid TOML: {error}") from error


def validated(model: type[Model], table: Mapping[str, Any], source: str = "") -> Model:
    """Return the model of a table. Raises ValueError with the source, the wrong key and what is wrong with it."""
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            section: Any = model
            for part in first["loc"][:-1]:
                section = section.model_fields[part].annotation
            message = f"unknown key; the keys are {', '.join(section.model_fields)}"
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(": ".join(part for part in (source, where, message) if part)) from None
