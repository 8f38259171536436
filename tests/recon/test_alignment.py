import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, scan_geometry
from recon.moments import without_position

WIDTH, HEIGHT, VIEWS = 120, 40, 180
COUNTS = 20000.0


def wandering(seed):
    """Drift and random walk of some pixels, run-out with harmonics of the turn: (views, 2) rows and columns."""
    rng = np.random.default_rng(seed)
    t, phase = np.linspace(0, 1, VIEWS), np.linspace(0, 2 * np.pi, VIEWS, endpoint=False)
    drift = np.outer(t, rng.normal(0, 4, 2)) + np.cumsum(rng.normal(0, 0.1, (VIEWS, 2)), axis=0)
    runout = sum(np.outer(np.cos(k * phase + rng.uniform(0, 6)), rng.normal(0, 0.6, 2)) / k for k in range(1, 6))
    return np.clip(drift, -6, 6) + runout


def left_over(found, true, angles_deg):
    difference = found - true
    difference[:, 0] -= difference[:, 0].mean()
    difference[:, 1] = without_position(difference[:, 1], angles_deg)
    return np.sqrt((difference**2).mean(axis=0))


def measured(phantom, geometry, seed):
    p = exact_projections(phantom, geometry)
    counts = np.random.default_rng(seed).poisson(COUNTS * np.exp(-p))
    return np.log(COUNTS / np.maximum(counts, 0.5)).astype(np.float32)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shifts_are_found_within_a_third_of_a_pixel(seed):
    true = wandering(seed)
    nominal = scan_geometry(WIDTH, HEIGHT, VIEWS)
    phantom = pillar_with_spheres(WIDTH, HEIGHT, seed)
    p = measured(phantom, scan_geometry(WIDTH, HEIGHT, VIEWS, view_shifts_px=true), seed)
    found = recon.correct_geometry(p, nominal).view_shifts_px
    assert found is not None
    assert (left_over(np.zeros_like(true), true, nominal.angles_deg) > 0.8).any()
    assert (left_over(found, true, nominal.angles_deg) < 0.33).all()


def test_the_rotation_axis_comes_out_where_it_is():
    """A constant column shift is no gauge: over a full turn it blurs."""
    phantom = pillar_with_spheres(WIDTH, HEIGHT, 4)
    p = measured(phantom, scan_geometry(WIDTH, HEIGHT, VIEWS, axis_offset_um=4.0), 4)
    found = recon.correct_geometry(p, scan_geometry(WIDTH, HEIGHT, VIEWS)).view_shifts_px
    assert found is not None
    assert found[:, 1].mean() == pytest.approx(4.0, abs=0.15)


def test_references_fix_the_height_and_turn_the_view():
    """The images of one angle tell the source's drift: rows then start at zero, columns turn the viewing angle."""
    t = np.linspace(0, 1, VIEWS)
    true = np.column_stack([3.0 * t, 5.0 * t])
    phantom = pillar_with_spheres(WIDTH, HEIGHT, 6)
    p = measured(phantom, scan_geometry(WIDTH, HEIGHT, VIEWS, view_shifts_px=true), 6)
    when = np.linspace(0, 1, 7)
    references = scan_geometry(
        WIDTH, HEIGHT, 7, angles_deg=np.zeros(7), view_shifts_px=np.column_stack([3.0 * when, 5.0 * when])
    )
    nominal = scan_geometry(WIDTH, HEIGHT, VIEWS)
    found = recon.correct_geometry(
        p, nominal, times_s=t, reference=measured(phantom, references, 8), reference_times_s=when
    )
    assert found.view_shifts_px is not None
    np.testing.assert_allclose(found.view_shifts_px[:, 0], true[:, 0], atol=0.4)
    turned = found.angles_deg - nominal.angles_deg
    assert turned[0] == pytest.approx(0, abs=1e-3)
    assert turned[-1] == pytest.approx(np.degrees(-5.0 * 1100 / 1099 / 750), rel=0.1)


def test_refusals():
    geometry = scan_geometry(16, 8, 4)
    p = np.ones((4, 8, 16))
    with pytest.raises(ValueError, match=r"p: got shape \(3, 8, 16\)"):
        recon.correct_geometry(p[:3], geometry)
    with pytest.raises(ValueError, match="times_s: got shape"):
        recon.correct_geometry(p, geometry, times_s=[0.0], reference=p, reference_times_s=np.arange(4))
    with pytest.raises(ValueError, match="reference_times_s: got shape"):
        recon.correct_geometry(p, geometry, times_s=np.arange(4), reference=p, reference_times_s=[0.0])
