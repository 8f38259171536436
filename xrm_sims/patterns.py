"""What an ion beam can be told to draw: where, how deep, with how much dose, and how long that takes.

Patterns live in the scan frame (micrometres; u along x, v along y, origin at the scan centre). Depth is counted
downwards from the surface as it stands. A pattern round-trips through plain dictionaries for documents and TOML.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from xrm_sims.settings import Settings

E_CHARGE_C = 1.602176634e-19


@dataclass(frozen=True)
class _Pattern:
    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Raster(_Pattern):
    """A dwell-timed raster of ``shape`` (rows, columns) pixels over a square field."""

    kind: ClassVar[str] = "raster"
    shape: tuple[int, int]
    fov_um: float
    dwell_ms: float
    centre_um: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 2:
            raise ValueError(f"shape: needs at least 2 x 2 pixels, got {self.shape}")
        _positive(fov_um=self.fov_um, dwell_ms=self.dwell_ms)

    @property
    def pixel_um(self) -> float:
        return self.fov_um / self.shape[1]

    @property
    def frame_s(self) -> float:
        """Beam time of one frame: pixels x dwell (512 x 512 x 0.55 ms = 144 s)."""
        return self.shape[0] * self.shape[1] * self.dwell_ms * 1e-3

    def ions_per_pixel(self, current_pa: float) -> float:
        """50 pA x 0.55 ms = 1.716e5 ions."""
        return current_pa * 1e-12 * self.dwell_ms * 1e-3 / E_CHARGE_C

    def erosion_nm(self, current_pa: float, rate_um3_per_nc: float) -> float:
        """Depth one frame takes from a solid: dose x rate / area."""
        dose_nc = current_pa * 1e-3 * self.frame_s
        return 1e3 * dose_nc * rate_um3_per_nc / (self.fov_um * self.fov_um * self.shape[0] / self.shape[1])


@dataclass(frozen=True)
class Rectangle(_Pattern):
    """Planar milling of a box: everything above the plane ``depth_um`` below the highest point of the surface goes.

    ``solid_fraction`` is the share of the box that is material (from the CT volume); dose and time scale with it.
    """

    kind: ClassVar[str] = "rectangle"
    size_um: tuple[float, float]
    depth_um: float
    centre_um: tuple[float, float] = (0.0, 0.0)
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        _positive(depth_um=self.depth_um, size_u_um=self.size_um[0], size_v_um=self.size_um[1])
        if not 0 < self.solid_fraction <= 1:
            raise ValueError(f"solid_fraction: needs a share above 0 and up to 1, got {self.solid_fraction}")
        if self.passes < 1:
            raise ValueError(f"passes: needs at least one, got {self.passes}")

    @property
    def volume_um3(self) -> float:
        """Material to remove."""
        return self.size_um[0] * self.size_um[1] * self.depth_um * self.solid_fraction

    def dose_nc(self, rate_um3_per_nc: float) -> float:
        return self.volume_um3 / rate_um3_per_nc

    def estimated_s(self, current_pa: float, rate_um3_per_nc: float) -> float:
        """(20.7 um)^2 x 1.5 um at 1 nA takes 72 minutes."""
        return self.dose_nc(rate_um3_per_nc) / (current_pa * 1e-3)


Pattern = Raster | Rectangle
_KINDS: dict[str, type[Raster] | type[Rectangle]] = {"raster": Raster, "rectangle": Rectangle}


def pattern_from_dict(table: dict[str, Any]) -> Pattern:
    """The pattern that :meth:`as_dict` described; ValueError names an unknown kind or field."""
    rest = dict(table)
    kind = rest.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"kind: needs one of {', '.join(_KINDS)}, got {kind!r}")
    known = {entry.name for entry in fields(_KINDS[kind])}
    for name in rest:
        if name not in known:
            raise ValueError(f"{kind}: unknown field {name!r}; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in rest.items()}
    return _KINDS[kind](**values)


def check_within_field(pattern: Pattern, settings: Settings) -> None:
    """ValueError when the pattern reaches beyond the ion column's scan field."""
    size = (pattern.fov_um, pattern.fov_um) if isinstance(pattern, Raster) else pattern.size_um
    reach_um = max(2 * abs(c) + s for c, s in zip(pattern.centre_um, size, strict=True))
    if reach_um > settings.ion.max_scan_field_um:
        raise ValueError(
            f"{pattern.kind}: reaches {reach_um:.4g} um across the scan centre, "
            f"the scan field is {settings.ion.max_scan_field_um:.4g} um"
        )


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: needs a positive number, got {value}")
