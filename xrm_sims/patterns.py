"""What an ion beam can be told to draw: where, how deep, with how much dose, and how long that takes.

Patterns live in the scan frame (micrometres; u along x, v along y, origin at the scan centre). Depth is counted
downwards from the surface as it stands; drawn to deposit, a pattern grows a layer as high as it is deep. A pattern
round-trips through plain dictionaries for documents and TOML.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Settings

E_CHARGE_C = 1.602176634e-19
Point = tuple[float, float]


@dataclass(frozen=True)
class Shape(ABC):
    """What every pattern can tell of itself."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind} | {name: _lists(value) for name, value in asdict(self).items()}

    @property
    @abstractmethod
    def extent_um(self) -> tuple[Point, Point]:
        """Lowest and highest (u, v) that it reaches."""

    @property
    @abstractmethod
    def area_um2(self) -> float: ...

    @property
    def mean_depth_share(self) -> float:
        """Of :meth:`depth_share` over the area."""
        return 1.0

    @abstractmethod
    def depth_share(self, u_um: NDArray[np.float64], v_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """How deep it goes at places of the scan frame, relative to its full depth; 0 outside."""


@dataclass(frozen=True)
class Raster(Shape):
    """A dwell-timed raster of ``shape`` (rows, columns) pixels, ``fov_um`` wide; pixels are square."""

    kind: ClassVar[str] = "raster"
    shape: tuple[int, int]
    fov_um: float
    dwell_ms: float
    centre_um: Point = (0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 2:
            raise ValueError(f"shape: needs at least 2 x 2 pixels, got {self.shape}")
        _positive(fov_um=self.fov_um, dwell_ms=self.dwell_ms)

    @property
    def pixel_um(self) -> float:
        return self.fov_um / self.shape[1]

    @property
    def size_um(self) -> Point:
        return self.fov_um, self.pixel_um * self.shape[0]

    @property
    def extent_um(self) -> tuple[Point, Point]:
        return _around(self.centre_um, self.size_um)

    @property
    def area_um2(self) -> float:
        return math.prod(self.size_um)

    def depth_share(self, u_um: NDArray[np.float64], v_um: NDArray[np.float64]) -> NDArray[np.float64]:
        return _in_box(self.extent_um, u_um, v_um)

    @property
    def frame_s(self) -> float:
        """Beam time of one frame: pixels x dwell (512 x 512 x 0.55 ms = 144 s)."""
        return self.shape[0] * self.shape[1] * self.dwell_ms * 1e-3

    def ions_per_pixel(self, current_pa: float) -> float:
        """50 pA x 0.55 ms = 1.716e5 ions."""
        return current_pa * 1e-12 * self.dwell_ms * 1e-3 / E_CHARGE_C

    def erosion_nm(self, current_pa: float, rate_um3_per_nc: float) -> float:
        """Depth one frame takes from a solid: dose x rate / area."""
        return 1e3 * current_pa * 1e-3 * self.frame_s * rate_um3_per_nc / self.area_um2


class Milled(Shape):
    """What milling patterns share: a depth, a dose and a time.

    ``solid_fraction`` is the share of the volume that is material (from the CT volume); dose and time scale with it.
    The dose is the same in every pass.
    """

    depth_um: float
    solid_fraction: float
    passes: int
    planar: ClassVar[bool] = True  # all of it goes down to one plane; else each place gets its own dose

    def _check(self) -> None:
        _positive(depth_um=self.depth_um)
        if not 0 < self.solid_fraction <= 1:
            raise ValueError(f"solid_fraction: needs a share above 0 and up to 1, got {self.solid_fraction}")
        if self.passes < 1:
            raise ValueError(f"passes: needs at least one, got {self.passes}")

    @property
    def volume_um3(self) -> float:
        """Material to remove."""
        return self.area_um2 * self.depth_um * self.mean_depth_share * self.solid_fraction

    def dose_nc(self, rate_um3_per_nc: float) -> float:
        return self.volume_um3 / rate_um3_per_nc

    def estimated_s(self, current_pa: float, rate_um3_per_nc: float) -> float:
        """(20.7 um)^2 x 1.5 um at 1 nA takes 72 minutes."""
        return self.dose_nc(rate_um3_per_nc) / (current_pa * 1e-3)


@dataclass(frozen=True)
class Rectangle(Milled):
    """Planar milling of a box: everything above the plane ``depth_um`` below the highest point of the surface goes."""

    kind: ClassVar[str] = "rectangle"
    size_um: Point
    depth_um: float
    centre_um: Point = (0.0, 0.0)
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        _positive(size_u_um=self.size_um[0], size_v_um=self.size_um[1])
        self._check()

    @property
    def extent_um(self) -> tuple[Point, Point]:
        return _around(self.centre_um, self.size_um)

    @property
    def area_um2(self) -> float:
        return math.prod(self.size_um)

    def depth_share(self, u_um: NDArray[np.float64], v_um: NDArray[np.float64]) -> NDArray[np.float64]:
        return _in_box(self.extent_um, u_um, v_um)


@dataclass(frozen=True)
class Polygon(Milled):
    """Planar milling inside a closed line through ``vertices_um``, three or more (u, v) in either sense of rotation."""

    kind: ClassVar[str] = "polygon"
    vertices_um: tuple[Point, ...]
    depth_um: float
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        if len(self.vertices_um) < 3 or any(len(vertex) != 2 for vertex in self.vertices_um):
            raise ValueError(f"vertices_um: a polygon needs three or more (u, v), got {self.vertices_um}")
        if not np.isfinite(self.vertices_um).all():
            raise ValueError(f"vertices_um: needs finite numbers, got {self.vertices_um}")
        crossing = _crossing(self.vertices_um)
        if crossing:
            one, other = crossing
            raise ValueError(
                f"vertices_um: the polygon crosses itself, its edge {one} meets its edge {other}; "
                "give the vertices in the order in which the line runs around it"
            )
        if self.area_um2 <= 1e-9 * max(map(abs, np.ravel(self.vertices_um))) ** 2:
            raise ValueError(f"vertices_um: the polygon is empty, its area is {self.area_um2:.3g} um^2")
        self._check()

    @property
    def extent_um(self) -> tuple[Point, Point]:
        u, v = zip(*self.vertices_um, strict=True)
        return (min(u), min(v)), (max(u), max(v))

    @property
    def area_um2(self) -> float:
        """Shoelace formula."""
        return abs(0.5 * sum(u0 * v1 - u1 * v0 for (u0, v0), (u1, v1) in _edges(self.vertices_um)))

    def depth_share(self, u_um: NDArray[np.float64], v_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Even-odd rule: a line along u crosses an odd number of edges on its way out."""
        inside = np.zeros(np.broadcast(u_um, v_um).shape, bool)
        for (u0, v0), (u1, v1) in _edges(self.vertices_um):
            if v0 != v1:
                spans = (v_um < v0) != (v_um < v1)
                inside ^= spans & (u_um < u0 + (v_um - v0) * (u1 - u0) / (v1 - v0))
        return inside.astype(float)


@dataclass(frozen=True)
class Annulus(Milled):
    """Planar milling of a ring, as it cuts a pillar free; with ``inner_radius_um`` 0 it is a disk."""

    kind: ClassVar[str] = "annulus"
    inner_radius_um: float
    outer_radius_um: float
    depth_um: float
    centre_um: Point = (0.0, 0.0)
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        _positive(outer_radius_um=self.outer_radius_um)
        if not 0 <= self.inner_radius_um < self.outer_radius_um:
            raise ValueError(
                f"inner_radius_um: needs 0 or more and less than the outer radius of {self.outer_radius_um} um, "
                f"got {self.inner_radius_um}"
            )
        self._check()

    @property
    def extent_um(self) -> tuple[Point, Point]:
        return _around(self.centre_um, (2.0 * self.outer_radius_um, 2.0 * self.outer_radius_um))

    @property
    def area_um2(self) -> float:
        return math.pi * (self.outer_radius_um**2 - self.inner_radius_um**2)

    def depth_share(self, u_um: NDArray[np.float64], v_um: NDArray[np.float64]) -> NDArray[np.float64]:
        radius2 = (u_um - self.centre_um[0]) ** 2 + (v_um - self.centre_um[1]) ** 2
        return ((radius2 >= self.inner_radius_um**2) & (radius2 <= self.outer_radius_um**2)).astype(float)


FACES = ("+u", "-u", "+v", "-v")


@dataclass(frozen=True)
class CrossSection(Milled):
    """A trench whose floor goes down in ``steps`` towards the ``face`` of the box, where it is ``depth_um`` deep.

    It lays a vertical section bare on that side ("+u": the side of highest u). Each place gets the dose of its depth.
    """

    kind: ClassVar[str] = "cross_section"
    planar: ClassVar[bool] = False
    size_um: Point
    depth_um: float
    face: str = "+v"
    steps: int = 10
    centre_um: Point = (0.0, 0.0)
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        _positive(size_u_um=self.size_um[0], size_v_um=self.size_um[1])
        if self.face not in FACES:
            raise ValueError(f"face: needs one of {', '.join(FACES)}, got {self.face!r}")
        if self.steps < 1:
            raise ValueError(f"steps: needs at least one, got {self.steps}")
        self._check()

    @property
    def extent_um(self) -> tuple[Point, Point]:
        return _around(self.centre_um, self.size_um)

    @property
    def area_um2(self) -> float:
        return math.prod(self.size_um)

    @property
    def mean_depth_share(self) -> float:
        return 0.5 * (1.0 + 1.0 / self.steps)

    def depth_share(self, u_um: NDArray[np.float64], v_um: NDArray[np.float64]) -> NDArray[np.float64]:
        axis = 0 if self.face.endswith("u") else 1
        along = ((u_um, v_um)[axis] - self.centre_um[axis]) / self.size_um[axis]
        towards = 0.5 + (along if self.face.startswith("+") else -along)  # 0 at the shallow end, 1 at the face
        step = np.clip(np.floor(towards * self.steps) + 1, 1, self.steps)
        return step / self.steps * _in_box(self.extent_um, u_um, v_um)


Pattern = Raster | Rectangle | Polygon | Annulus | CrossSection
_KINDS: dict[str, type[Pattern]] = {kind.kind: kind for kind in (Raster, Rectangle, Polygon, Annulus, CrossSection)}


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
    return _KINDS[kind](**{name: _tuples(value) for name, value in rest.items()})


def check_within_field(pattern: Shape, settings: Settings) -> None:
    """ValueError when the pattern reaches beyond the ion column's scan field."""
    reach_um = 2.0 * float(np.abs(pattern.extent_um).max())
    if not reach_um <= settings.ion.max_scan_field_um:
        raise ValueError(
            f"{pattern.kind}: reaches {reach_um:.4g} um across the scan centre, "
            f"the scan field is {settings.ion.max_scan_field_um:.4g} um"
        )


def check_deposition(pattern: Milled, current_pa: float, settings: Settings) -> None:
    """ValueError when the pattern is not solid, or when so much current on it would mill instead of depositing."""
    if pattern.solid_fraction != 1:
        raise ValueError(f"solid_fraction: a deposit is solid, needs 1, got {pattern.solid_fraction}")
    limit_pa = settings.deposition.max_pa_per_um2 * pattern.area_um2
    if current_pa > limit_pa:
        raise ValueError(
            f"current_pa: {current_pa:g} pA on {pattern.area_um2:.4g} um^2 use up the precursor gas faster than it "
            f"comes, and the beam mills instead; take {limit_pa:.4g} pA at most or a larger pattern"
        )


def _around(centre_um: Point, size_um: Point) -> tuple[Point, Point]:
    (u, v), (width, height) = centre_um, size_um
    return (u - 0.5 * width, v - 0.5 * height), (u + 0.5 * width, v + 0.5 * height)


def _in_box(
    extent_um: tuple[Point, Point], u_um: NDArray[np.float64], v_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    (u0, v0), (u1, v1) = extent_um
    return ((u_um >= u0) & (u_um <= u1) & (v_um >= v0) & (v_um <= v1)).astype(float)


def _edges(vertices: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(zip(vertices, [*vertices[1:], vertices[0]], strict=True))


def _crossing(vertices: Sequence[Point]) -> tuple[int, int] | None:
    """Numbers of the first two edges, not neighbours, that have a point in common."""
    edges = _edges(vertices)
    for one, other in combinations(range(len(edges)), 2):
        if other - one in (1, len(edges) - 1):
            continue
        (a, b), (c, d) = edges[one], edges[other]
        if _side(a, b, c) * _side(a, b, d) <= 0 and _side(c, d, a) * _side(c, d, b) <= 0 and _overlap(a, b, c, d):
            return one, other
    return None


def _side(a: Point, b: Point, p: Point) -> float:
    """Positive when p lies to the left of the line from a to b."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _overlap(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the bounding boxes of two edges touch."""
    return all(max(min(a[k], b[k]), min(c[k], d[k])) <= min(max(a[k], b[k]), max(c[k], d[k])) for k in (0, 1))


def _lists(value: Any) -> Any:
    return [_lists(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, (tuple, list)) else value


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: needs a positive number, got {value}")
