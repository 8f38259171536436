"""Patterns that an ion beam draws: place, depth, dose and time.

Coordinates are those of the scan frame (micrometres; u along x, v along y, origin at the scan centre). Depth counts
downwards from the present surface; a pattern for deposition grows a layer of that height. Patterns convert to plain
dictionaries, for documents and TOML, and back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Settings

E_CHARGE_C = 1.602176634e-19
Point = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape(ABC):
    """Base class of all patterns."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind} | {name: _lists(value) for name, value in asdict(self).items()}

    @property
    @abstractmethod
    def extent_um(self) -> tuple[Point, Point]:
        """Lowest and highest (u, v) of the pattern."""

    @property
    @abstractmethod
    def area_um2(self) -> float: ...

    @property
    def mean_depth_share(self) -> float:
        """Mean of :meth:`depth_share` over the area."""
        return 1.0

    @abstractmethod
    def depth_share(self, u_um: Floats, v_um: Floats) -> Floats:
        """Return the depth at points of the scan frame, relative to the full depth; 0 outside the pattern."""


class _Box(Shape):
    """A pattern that fills a rectangle."""

    centre_um: Point

    if TYPE_CHECKING:  # at run time a dataclass would take an inherited property for the default of its field

        @property
        def size_um(self) -> Point: ...

    @property
    def extent_um(self) -> tuple[Point, Point]:
        return _around(self.centre_um, self.size_um)

    @property
    def area_um2(self) -> float:
        return math.prod(self.size_um)

    def depth_share(self, u_um: Floats, v_um: Floats) -> Floats:
        (u0, v0), (u1, v1) = self.extent_um
        return ((u_um >= u0) & (u_um <= u1) & (v_um >= v0) & (v_um <= v1)).astype(float)


@dataclass(frozen=True)
class Raster(_Box):
    """A dwell-timed raster of ``shape`` (rows, columns) pixels, ``fov_um`` wide; pixels are square."""

    kind: ClassVar[str] = "raster"
    shape: tuple[int, int]
    fov_um: float
    dwell_ms: float
    centre_um: Point = (0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 2:
            raise ValueError(f"shape: needs at least 2 x 2 pixels, got {self.shape}")
        require_positive(fov_um=self.fov_um, dwell_ms=self.dwell_ms)

    @property
    def pixel_um(self) -> float:
        return self.fov_um / self.shape[1]

    @property
    def size_um(self) -> Point:
        return self.fov_um, self.pixel_um * self.shape[0]

    @property
    def frame_s(self) -> float:
        """Beam time of one frame: number of pixels x dwell time (512 x 512 x 0.55 ms = 144 s)."""
        return self.shape[0] * self.shape[1] * self.dwell_ms * 1e-3

    def ions_per_pixel(self, current_pa: float) -> float:
        """Return the number of ions: 1.716e5 for 50 pA x 0.55 ms."""
        return current_pa * 1e-12 * self.dwell_ms * 1e-3 / E_CHARGE_C

    def erosion_nm(self, current_pa: float, rate_um3_per_nc: float) -> float:
        """Return the depth that one frame removes from a solid: dose x rate / area."""
        return 1e3 * current_pa * 1e-3 * self.frame_s * rate_um3_per_nc / self.area_um2


class Milled(Shape):
    """Base class of milling patterns: depth, dose and time.

    ``solid_fraction`` is the share of the volume that is material (from the CT volume); dose and time scale with it.
    Every pass has the same dose.
    """

    depth_um: float
    solid_fraction: float
    passes: int
    planar: ClassVar[bool] = True  # milled down to one plane; else each point gets its own dose

    def _check(self) -> None:
        require_positive(depth_um=self.depth_um)
        if not 0 < self.solid_fraction <= 1:
            raise ValueError(f"solid_fraction: needs a share above 0 and up to 1, got {self.solid_fraction}")
        if self.passes < 1:
            raise ValueError(f"passes: needs at least one, got {self.passes}")

    @property
    def volume_um3(self) -> float:
        """Volume of material to remove."""
        return self.area_um2 * self.depth_um * self.mean_depth_share * self.solid_fraction

    def dose_nc(self, rate_um3_per_nc: float) -> float:
        return self.volume_um3 / rate_um3_per_nc

    def estimated_s(self, current_pa: float, rate_um3_per_nc: float) -> float:
        """Return the milling time in s: 72 minutes for (20.7 um)^2 x 1.5 um of LCO at 1 nA."""
        return self.dose_nc(rate_um3_per_nc) / (current_pa * 1e-3)


@dataclass(frozen=True)
class Rectangle(_Box, Milled):
    """Planar milling of a box down to the plane ``depth_um`` below the highest point of the surface."""

    kind: ClassVar[str] = "rectangle"
    size_um: Point
    depth_um: float
    centre_um: Point = (0.0, 0.0)
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        require_positive(size_u_um=self.size_um[0], size_v_um=self.size_um[1])
        self._check()


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
                f"vertices_um: the polygon crosses itself, edge {one} meets edge {other}; "
                "give the vertices in their order around the outline"
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

    def depth_share(self, u_um: Floats, v_um: Floats) -> Floats:
        """Even-odd rule: from a point inside, a line along u crosses an odd number of edges."""
        inside = np.zeros(np.broadcast(u_um, v_um).shape, bool)
        for (u0, v0), (u1, v1) in _edges(self.vertices_um):
            if v0 != v1:
                spans = (v_um < v0) != (v_um < v1)
                inside ^= spans & (u_um < u0 + (v_um - v0) * (u1 - u0) / (v1 - v0))
        return inside.astype(float)


@dataclass(frozen=True)
class Annulus(Milled):
    """Planar milling of a ring, for example around a pillar; with ``inner_radius_um`` 0 it is a disk."""

    kind: ClassVar[str] = "annulus"
    inner_radius_um: float
    outer_radius_um: float
    depth_um: float
    centre_um: Point = (0.0, 0.0)
    solid_fraction: float = 1.0
    passes: int = 10

    def __post_init__(self) -> None:
        require_positive(outer_radius_um=self.outer_radius_um)
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

    def depth_share(self, u_um: Floats, v_um: Floats) -> Floats:
        radius2 = (u_um - self.centre_um[0]) ** 2 + (v_um - self.centre_um[1]) ** 2
        return ((radius2 >= self.inner_radius_um**2) & (radius2 <= self.outer_radius_um**2)).astype(float)


FACES = ("+u", "-u", "+v", "-v")


@dataclass(frozen=True)
class CrossSection(_Box, Milled):
    """A trench whose floor descends in ``steps`` towards the ``face`` of the box, where it is ``depth_um`` deep.

    It exposes a vertical section on that side ("+u": the side of highest u). Each point gets the dose for its depth.
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
        require_positive(size_u_um=self.size_um[0], size_v_um=self.size_um[1])
        if self.face not in FACES:
            raise ValueError(f"face: needs one of {', '.join(FACES)}, got {self.face!r}")
        if self.steps < 1:
            raise ValueError(f"steps: needs at least one, got {self.steps}")
        self._check()

    @property
    def mean_depth_share(self) -> float:
        return 0.5 * (1.0 + 1.0 / self.steps)

    def depth_share(self, u_um: Floats, v_um: Floats) -> Floats:
        axis = 0 if self.face.endswith("u") else 1
        along = ((u_um, v_um)[axis] - self.centre_um[axis]) / self.size_um[axis]
        towards = 0.5 + (along if self.face.startswith("+") else -along)  # 0 at the shallow end, 1 at the face
        step = np.clip(np.floor(towards * self.steps) + 1, 1, self.steps)
        return np.asarray(step / self.steps * super().depth_share(u_um, v_um))


Pattern = Raster | Rectangle | Polygon | Annulus | CrossSection
_KINDS: dict[str, type[Pattern]] = {kind.kind: kind for kind in (Raster, Rectangle, Polygon, Annulus, CrossSection)}


def pattern_from_dict(table: dict[str, Any]) -> Pattern:
    """Make a pattern from the result of ``as_dict``; ValueError names an unknown kind or field."""
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
    """Raise ValueError when the pattern leaves the ion column's scan field."""
    reach_um = 2.0 * float(np.abs(pattern.extent_um).max())
    if not reach_um <= settings.ion.max_scan_field_um:
        raise ValueError(
            f"{pattern.kind}: reaches {reach_um:.4g} um across the scan centre, "
            f"the scan field is {settings.ion.max_scan_field_um:.4g} um"
        )


def check_deposition(pattern: Milled, current_pa: float, settings: Settings) -> None:
    """Raise ValueError when ``solid_fraction`` is not 1, or when the current density would mill instead of deposit."""
    if pattern.solid_fraction != 1:
        raise ValueError(f"solid_fraction: a deposit is solid, needs 1, got {pattern.solid_fraction}")
    limit_pa = settings.deposition.max_pa_per_um2 * pattern.area_um2
    if current_pa > limit_pa:
        raise ValueError(
            f"current_pa: {current_pa:g} pA on {pattern.area_um2:.4g} um^2 use up the precursor gas faster than it "
            f"flows in, and the beam mills instead; take {limit_pa:.4g} pA at most or a larger pattern"
        )


def _around(centre_um: Point, size_um: Point) -> tuple[Point, Point]:
    (u, v), (width, height) = centre_um, size_um
    return (u - 0.5 * width, v - 0.5 * height), (u + 0.5 * width, v + 0.5 * height)


def _edges(vertices: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(zip(vertices, [*vertices[1:], vertices[0]], strict=True))


def _crossing(vertices: Sequence[Point]) -> tuple[int, int] | None:
    """Return the numbers of the first two edges that are not neighbours and share a point, or None."""
    edges = _edges(vertices)
    for one, other in combinations(range(len(edges)), 2):
        if other - one in (1, len(edges) - 1):
            continue
        (a, b), (c, d) = edges[one], edges[other]
        if _side(a, b, c) * _side(a, b, d) <= 0 and _side(c, d, a) * _side(c, d, b) <= 0 and _overlap(a, b, c, d):
            return one, other
    return None


def _side(a: Point, b: Point, p: Point) -> float:
    """Return a positive number when p lies to the left of the line from a to b."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _overlap(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Return whether the bounding boxes of two edges touch."""
    return all(max(min(a[k], b[k]), min(c[k], d[k])) <= min(max(a[k], b[k]), max(c[k], d[k])) for k in (0, 1))


def _lists(value: Any) -> Any:
    """Return ``value`` with lists in place of tuples, at all levels."""
    return [_lists(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def _tuples(value: Any) -> Any:
    """Return ``value`` with tuples in place of lists, at all levels."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, (tuple, list)) else value


def require_positive(**values: float) -> None:
    """Raise ValueError naming the first value that is not a finite positive number."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: needs a positive number, got {value}")
