"""The validation: arithmetic of its rows, its report, its exit codes, and cheap rows for real."""

import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

import xrm_sims
from xrm_sims.app.validation import ROWS, Row, markdown, run
from xrm_sims.app.validation.fields import Field
from xrm_sims.app.validation.laboratory import Tomogram
from xrm_sims.app.validation.link import compare
from xrm_sims.app.validation.measured import Voxels
from xrm_sims.app.validation.report import line
from xrm_sims.app.validation.rows import (
    Check,
    Measured,
    at_least,
    at_most,
    best_split,
    detection_limit,
    grouped_sigma,
    mean_with_sigma,
    median_with_sigma,
    overlap,
    share_with_sigma,
    two_means,
)
from xrm_sims.app.validation.xrays import classified_rightly, overlap_of
from xrm_sims.patterns import Raster
from xrm_sims.specimen import Material

ROW = Row("width", "width of the edge", 224.31, 6.7, (201.0, 247.0), "nm", "measured somehow")


@pytest.mark.parametrize(
    ("figure", "limits", "passed"),
    [
        (201.0, (201.0, 247.0), True),
        (247.0, (201.0, 247.0), True),
        (247.1, (201.0, 247.0), False),
        (math.nan, (201.0, 247.0), False),
        (1e9, at_least(3.0), True),
        (2.9, at_least(3.0), False),
        (-5.0, at_most(1.0), True),
        (math.nan, at_most(1.0), False),
    ],
)
def test_a_row_passes_within_its_limits(figure, limits, passed):
    assert replace(ROW, figure=figure, limits=limits).passed is passed


def test_a_row_says_two_digits_of_its_uncertainty():
    assert ROW.measured == "224.3 ± 6.7 nm"
    assert replace(ROW, sigma=0.0123, unit="").measured == "224.310 ± 0.012"
    assert replace(ROW, sigma=123.0).measured == "224 ± 123 nm"
    assert replace(ROW, sigma=math.nan).measured == "224.310 ± nan nm"
    allowed = [replace(ROW, limits=limits).allowed for limits in (ROW.limits, at_least(3), at_most(1), (2, 2))]
    assert allowed == ["201 to 247 nm", "≥ 3 nm", "≤ 1 nm", "2 nm"]


def test_two_gaussians_overlap_as_the_formula_says():
    rng = np.random.default_rng(1)
    n = 200_000
    for apart in (0.0, 0.5, 2.0, 20.0):
        found = overlap(rng.normal(0, 1, n), rng.normal(apart, 1, n))
        # counting scatter of 80 bins: less than sqrt(bins / n)
        assert found == pytest.approx(2 * norm.cdf(-apart / 2), abs=math.sqrt(80 / n))
    assert math.isnan(overlap([], [1.0]))


def test_the_uncertainty_of_an_overlap_is_that_of_its_groups():
    rng = np.random.default_rng(2)
    particles = np.repeat(np.arange(20), 500)
    noise = rng.normal(0, 1, (2, len(particles)))
    alike = grouped_sigma(overlap, *noise, particles, particles)
    offsets = rng.normal(0, 1, (2, 20))[:, particles]
    apart = grouped_sigma(overlap, *(noise + offsets), particles, particles)
    assert alike < 0.02 < apart
    assert math.isnan(grouped_sigma(overlap, [], [1.0], [], [0]))


def test_the_best_threshold_between_two_gaussians_is_midway():
    rng = np.random.default_rng(3)
    n = 100_000
    for apart in (0.0, 1.0, 8.0):
        found = best_split(rng.normal(0, 1, n), rng.normal(apart, 1, n))
        # the largest of all differences between two empirical distributions: Kolmogorov's 1.36 sqrt(2 / n) at 95 %
        assert found == pytest.approx(norm.cdf(apart / 2), abs=1.36 * math.sqrt(2 / n))
    assert math.isnan(best_split([], [1.0]))


def test_shares_means_and_thresholds():
    assert share_with_sigma(34, 34) == (1.0, pytest.approx(math.sqrt(35 / 36 / 36 / 34)))
    assert math.isnan(share_with_sigma(0, 0)[0])
    assert mean_with_sigma([1.0, 3.0]) == (2.0, pytest.approx(1.0))
    # a median of n normal values scatters by 1.25 standard deviations over the root of n
    median, sigma = median_with_sigma(np.random.default_rng(4).normal(5.0, 2.0, 2000))
    assert median == pytest.approx(5.0, abs=3 * 1.25 * 2 / math.sqrt(2000))
    assert sigma == pytest.approx(1.25 * 2 / math.sqrt(2000), rel=0.25)
    assert math.isnan(median_with_sigma([])[0])
    assert 1.2 < two_means([1.0, 1.1, 1.2, 2.0, 2.1]) < 2.0
    assert detection_limit(0.0) == pytest.approx(2.71)
    # a signal at the limit is missed by one count in twenty: Currie's critical level is 1.645 standard deviations
    background = 400.0
    limit = detection_limit(background)
    critical = norm.isf(0.05) * math.sqrt(background)
    assert norm.cdf(critical, limit, math.sqrt(limit + background)) == pytest.approx(0.05, abs=0.01)


def test_voxels_that_overlap_can_still_name_their_particle():
    """Forty particles of 400 voxels, the phases 0.4 standard deviations of a voxel apart, 8 of a particle's mean."""
    rng = np.random.default_rng(5)
    particle = np.repeat(np.arange(40), 400)
    material = np.where(particle % 2, Material.NCA, Material.LCO).astype(np.uint8)
    raw = rng.normal(np.where(material == Material.LCO, 1.4, 1.0), 1.0)
    voxels = Voxels(raw, np.where(material == Material.LCO, 1.4, 1.0), material, particle)
    figure, sigma, regularised = overlap_of(voxels)
    assert figure == pytest.approx(100 * 2 * norm.cdf(-0.2), abs=100 * math.sqrt(80 / 8000))
    assert 0 < sigma < 3
    assert regularised == 0
    assert classified_rightly(voxels) == (40, 40)
    alike = replace(voxels, raw=rng.normal(1.0, 1.0, len(raw)))
    right, total = classified_rightly(alike)
    assert total == 40
    assert abs(right - 20) < 4 * math.sqrt(40) / 2


def test_the_report_is_a_table_with_verdicts():
    failing = replace(ROW, name="a|b", figure=300.0)
    text = markdown([ROW, failing], 7, 12.3, [Path("somewhere/edge.png")])
    assert "| width | width of the edge | 224.3 ± 6.7 nm | 201 to 247 nm | pass |" in text
    assert "| a\\|b | width of the edge | 300.0 ± 6.7 nm | 201 to 247 nm | **FAIL** |" in text
    assert "seed 7; 1 of 2 rows fail: a|b" in text
    assert "- **width**: measured somehow" in text
    assert "![edge](edge.png)" in text
    assert line(ROW).startswith("pass  width: ")
    assert line(failing).startswith("FAIL")


@pytest.mark.parametrize("shift_um", [(0.06, -0.04), (0.0, 0.0)])
def test_a_hole_of_the_map_is_found_beside_that_of_the_tomogram(shift_um):
    voxel_um, radius_um = 0.2, 0.4
    z, y, x = (np.arange(n) - 0.5 * (n - 1) for n in (20, 40, 40))
    away = np.sqrt((z[:, None, None] * voxel_um) ** 2 + (y[:, None] * voxel_um) ** 2 + (x * voxel_um) ** 2)
    share = 1 / (1 + np.exp((radius_um - away) / 0.07))
    geometry = SimpleNamespace(voxel_um=voxel_um)
    volume = (0.06 * share).astype(np.float32)
    tomogram = Tomogram(volume, volume, geometry, 0.0)
    raster = Raster((96, 96), 4.0, 0.55)
    at = (np.arange(96) - 47.5) * raster.pixel_um
    points = np.stack([*np.meshgrid(at, at), np.zeros((96, 96))], axis=-1)
    hole = np.hypot(points[..., 0] - shift_um[0], points[..., 1] - shift_um[1]) < radius_um
    lithium = np.random.default_rng(3).poisson(np.where(hole, 250.0, 450.0)).astype(float)
    flat = np.ones(hole.shape, bool)
    field = Field(raster, lithium[None], ("7Li",), 29.5, hole * 0, flat, points, hole * 0.0, hole * 0.0)
    seen = compare(field, tomogram, np.zeros(3), 2 * radius_um)
    assert seen.shift_um == pytest.approx(shift_um, abs=0.01)
    assert seen.correlation > 0.95
    assert seen.left == pytest.approx(250 / 450, abs=0.03)


def test_an_unknown_row_is_refused_before_anything_is_measured(command, tmp_path):
    ended = command("validate", "--out", tmp_path / "v", "--rows", "edge,edgy")
    assert ended.code == 1
    assert "rows: 'edgy' unknown; choose from open_beam, " in ended.err
    assert not (tmp_path / "v").exists()


def test_a_row_that_fails_is_exit_code_one(command, tmp_path, monkeypatch):
    never = Check("never", lambda lab: Measured(math.nan, 0.0, ""), "", at_most(1.0), "", 1.0)
    monkeypatch.setitem(ROWS, "never", never)
    ended = command("validate", "--out", tmp_path, "--rows", "never")
    assert ended.code == 1
    assert "FAIL  never" in ended.out
    assert "**FAIL**" in (tmp_path / "validation.md").read_text()


def test_rows_measure_the_twin_through_its_devices(command, tmp_path):
    ended = command("validate", "--out", tmp_path, "--seed", "3", "--rows", "no_lithium,transmission,open_beam")
    assert ended.code == 0, ended.out
    assert re.findall(r"^pass  (\w+):", ended.out, re.M) == ["open_beam", "transmission", "no_lithium"]
    text = (tmp_path / "validation.md").read_text()
    assert "all 3 rows pass" in text
    assert "Li cannot be mapped by EDS" in text
    assert (tmp_path / "radiographs.png").stat().st_size > 10_000


def test_rows_keep_their_order_and_names():
    assert list(run.chosen_rows(["erosion", "edge"])) == ["edge", "erosion"]
    assert run.chosen_rows() == ROWS


def test_nothing_but_the_validation_asks_for_the_truth():
    root = Path(xrm_sims.__file__).parents[1]
    rooms = [
        p
        for room in ("xrm_sims", "devices", "plans", "recon", "profile_collection")
        for p in (root / room).rglob("*.py")
    ]
    asking = {path.relative_to(root).as_posix() for path in rooms if ".truth(" in path.read_text()}
    assert asking == {"xrm_sims/app/validation/laboratory.py"}
