"""Rank defects by a rule that a user can edit, and record why the rule holds one back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, model_validator

from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.settings.section import Section, read_toml, validated


class DefectRule(Section):
    """Section ``[rois]``: which defect is worth milling to.

    Defects outside a range are held back; the others are ranked by a weighted sum. The limits of the ranges were chosen
    on seeds 11 to 24 of the twin.

    Each term is between 0 and 1: the diameter over ``good_diameter_um``, the closeness to the surface within the depth
    range, the distance to the pillar's side over ``good_edge_um``, the confidence, and ``comparison_intact`` of the
    particle beside it.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    kinds: tuple[Literal["pore", "crack"], ...] = ("pore", "crack")
    depth_um: tuple[float, float] = (1.0, 6.0)
    least_diameter_um: float = 0.4
    most_hollow_um: float = 0.3  # above it the defect is several voids, without a common middle
    least_edge_um: float = 3.0
    least_confidence: float = 0.5
    good_diameter_um: float = 0.8
    good_edge_um: float = 10.0
    size_weight: float = 1.0
    shallow_weight: float = 0.5
    edge_weight: float = 0.5
    confidence_weight: float = 1.0
    comparison_weight: float = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.depth_um[0] < self.depth_um[1]:
            raise ValueError(f"depth_um: needs two depths, the lesser first, got {list(self.depth_um)}")
        return self

    def obstacle(self, defect: Defect) -> str | None:
        """Return why the rule holds a defect back, or None."""
        low, high = self.depth_um
        if defect.kind not in self.kinds:
            return f"is a {defect.kind}"
        if not low <= defect.depth_um <= high:
            return "depth"
        if defect.diameter_um < self.least_diameter_um:
            return "size"
        if defect.hollow_um > self.most_hollow_um:
            return "several in one"
        if defect.edge_um < self.least_edge_um:
            return "distance to the side"
        if defect.confidence < self.least_confidence:
            return "confidence"
        return None

    def score(self, defect: Defect) -> float:
        low, high = self.depth_um
        return (
            self.size_weight * min(1.0, defect.diameter_um / self.good_diameter_um)
            + self.shallow_weight * (high - defect.depth_um) / (high - low)
            + self.edge_weight * min(1.0, defect.edge_um / self.good_edge_um)
            + self.confidence_weight * defect.confidence
            + self.comparison_weight * defect.comparison_intact
        )

    def as_toml(self) -> str:
        """Return the rule as a file that :func:`load_rule` reads."""
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.model_dump(mode="json").items())


def load_rule(path: Path) -> DefectRule:
    """Return the rule of a TOML file; missing keys keep their defaults. Raises ValueError naming file and key."""
    return validated(DefectRule, read_toml(path, "rule"), f"rule {path}")


# centre in the specimen frame; the normal's tilt from z, and its azimuth from x to y
COLUMNS = (
    *("roi", "kind", "x_um", "y_um", "z_um", "depth_um", "edge_um", "diameter_um", "volume_um3"),
    *("length_um", "width_um", "thickness_um", "opening_um", "normal_tilt_deg", "normal_azimuth_deg"),
    *("particle", "comparison_particle", "comparison_intact"),
    *("contrast", "enclosure", "confidence", "score", "obstacle"),
)


@dataclass(frozen=True)
class Roi:
    """A defect, whose ``label`` is its number in the ranking; its score; and why the rule holds it back, or None."""

    defect: Defect
    score: float
    obstacle: str | None

    @property
    def number(self) -> int:
        return self.defect.label

    def as_row(self) -> dict[str, Any]:
        """Return the row of a table with ``COLUMNS``."""
        d = self.defect
        tilt_deg = math.degrees(math.acos(min(1.0, abs(d.normal[2]))))
        azimuth_deg = math.degrees(math.atan2(d.normal[1], d.normal[0]))
        values = (
            *(self.number, d.kind, *d.centre_um, d.depth_um, d.edge_um, d.diameter_um, d.volume_um3, *d.extents_um),
            *(d.opening_um, tilt_deg, azimuth_deg, d.particle, d.comparison, d.comparison_intact),
            *(d.contrast, d.enclosure, d.confidence, self.score, self.obstacle or ""),
        )
        return dict(zip(COLUMNS, values, strict=True))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the ROI of a row of :meth:`as_row`; its normal points up."""
        tilt, azimuth = math.radians(row["normal_tilt_deg"]), math.radians(row["normal_azimuth_deg"])
        defect = Defect(
            label=int(row["roi"]),
            kind=str(row["kind"]),
            centre_um=_floats(row, "x_um", "y_um", "z_um"),
            extents_um=_floats(row, "length_um", "width_um", "thickness_um"),
            normal=(math.sin(tilt) * math.cos(azimuth), math.sin(tilt) * math.sin(azimuth), math.cos(tilt)),
            particle=int(row["particle"]),
            comparison=int(row["comparison_particle"]),
            **{name: float(row[name]) for name in _SAME},
        )
        return cls(defect, float(row["score"]), str(row["obstacle"]) or None)


_SAME = (
    *("depth_um", "edge_um", "diameter_um", "volume_um3", "opening_um"),
    *("contrast", "enclosure", "confidence", "comparison_intact"),
)


def _floats(row: Mapping[str, Any], x: str, y: str, z: str) -> tuple[float, float, float]:
    return float(row[x]), float(row[y]), float(row[z])


def rank_rois(defects: Sequence[Defect], rule: DefectRule) -> list[Roi]:
    """Number defects from 1: first those within the rule, best first, then the others, best first."""
    judged = [(rule.obstacle(d), rule.score(d), d) for d in defects]
    judged.sort(key=lambda entry: (entry[0] is not None, -entry[1]))
    return [Roi(replace(d, label=n), score, obstacle) for n, (obstacle, score, d) in enumerate(judged, start=1)]


class NoDefectError(ValueError):
    """No defect is within the rule."""


def best_roi(rois: Sequence[Roi], rule: DefectRule) -> Roi:
    """Return the best ROI within the rule. Raises NoDefectError with the reasons when there is none."""
    if not rois:
        raise NoDefectError("defects: the volume contains none, so there is no target for milling")
    for roi in rois:
        if roi.obstacle is None:
            return roi
    reasons = [roi.obstacle for roi in rois]
    tally = ", ".join(f"{reasons.count(r)} by {r}" for r in dict.fromkeys(reasons))
    raise NoDefectError(
        f"defects: none of {len(rois)} qualifies ({tally}); the rule needs a depth of {rule.depth_um[0]:g} to "
        f"{rule.depth_um[1]:g} um, at least {rule.least_diameter_um:g} um across, {rule.least_edge_um:g} um from the "
        f"side and a confidence of {rule.least_confidence:g}"
    )


def numbered_roi(rois: Sequence[Roi], number: int) -> Roi:
    """Return the ROI with a number. Raises ValueError for an unknown one, and for one that the rule holds back."""
    if not rois:
        raise NoDefectError(f"roi: {number} was asked for, and none was found in the volume")
    if not 1 <= number <= len(rois):
        raise ValueError(f"roi: {number} is none of those found, which are numbered from 1 to {len(rois)}")
    roi = rois[number - 1]
    if roi.obstacle is not None:
        raise ValueError(f"roi: {number} is held back by the rule ({roi.obstacle}); choose another or change the rule")
    return roi
