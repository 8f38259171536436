"""Description of a TIFF stack in a YAML or JSON file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from xrm_sims.exchange.writing import library

SUFFIXES = (".yaml", ".yml", ".json")
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SidecarBase(BaseModel):
    """Fields of every description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_name: str
    instrument: str = ""
    measured: str = ""
    licence: str = ""
    notes: str = ""


class VolumeSidecar(SidecarBase):
    """A reconstructed CT volume, slices (z, y, x) from the bottom up. ``slope`` and ``intercept`` convert grey values
    into attenuation in 1/um; without them grey values are stored unchanged."""

    kind: Literal["ct_volume"]
    voxel_um: Length
    slope: float = 1.0
    intercept: float = 0.0
    units: str = "grey value"


class SeSidecar(SidecarBase):
    """A secondary-electron image; ``source`` is the scanning beam."""

    kind: Literal["se_image"]
    fov_um: Length
    centre_um: tuple[float, float] = (0.0, 0.0)
    source: Literal["electron", "ion"] = "electron"


class ChannelSidecar(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    mass_u: Length


class SimsSidecar(SidecarBase):
    """SIMS maps: counts in pages (frame, channel), with the channel as the fast index."""

    kind: Literal["sims_raster"]
    fov_um: Length
    channels: Annotated[tuple[ChannelSidecar, ...], Field(min_length=1)]
    dwell_ms: Length
    centre_um: tuple[float, float] = (0.0, 0.0)
    current_pa: Length | None = None
    impact_energy_kev: Length | None = None


Sidecar = Annotated[VolumeSidecar | SeSidecar | SimsSidecar, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Sidecar] = TypeAdapter(Sidecar)


def find_sidecar(stack: Path, given: Path | None = None) -> Path:
    """Return the given file, else the one named like the stack. Raises ValueError, listing the names tried."""
    stem = stack.name if stack.is_dir() else stack.name.removesuffix(stack.suffix).removesuffix(".ome")
    tried = [given] if given is not None else [stack.with_name(f"{stem}{suffix}") for suffix in SUFFIXES]
    for path in tried:
        if path.is_file():
            return path
    names = ", ".join(path.name for path in tried)
    raise ValueError(f"{stack}: needs a description beside it ({names}); docs/exchange.md shows one")


def read_sidecar(path: Path) -> Sidecar:
    """Read a description. Raises ValueError naming the file and the missing, unknown or invalid field."""
    yaml = library("yaml")
    try:
        fields: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: is not YAML or JSON ({' '.join(str(error).split())})") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: needs a table of names and values, such as kind: ct_volume")
    try:
        return _ADAPTER.validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != fields.get("kind")) or "kind"
        raise ValueError(f"{path}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
