import numpy as np
import pytest

from xrm_sims.specimen import Material, tracing


def _random_line(rng):
    """Return a line through the window, roughly along x."""
    direction = np.array([1.0, *rng.uniform(-0.08, 0.08, 2)])
    return np.array([-60.0, *rng.uniform(-20, 20, 1), rng.uniform(-10, 4)]), direction / np.linalg.norm(direction)


def test_intervals_are_ordered_and_disjoint(pillar):
    rng = np.random.default_rng(2)
    for _ in range(200):
        t_in, t_out, kind = tracing.ray_intervals(pillar.solids, *_random_line(rng))
        assert (t_out > t_in).all()
        assert (t_in[1:] >= t_out[:-1]).all()
        assert (kind > 0).all()
        touching = t_in[1:] == t_out[:-1]
        assert (kind[1:][touching] != kind[:-1][touching]).all()


def test_each_interval_holds_its_material(pillar):
    rng = np.random.default_rng(3)
    for _ in range(200):
        origin, direction = _random_line(rng)
        t_in, t_out, kind = tracing.ray_intervals(pillar.solids, origin, direction)
        middles = pillar.material_at(origin + 0.5 * (t_in + t_out)[:, None] * direction)
        middles[middles == Material.NCA_BOUNDARY] = Material.NCA
        assert np.array_equal(middles, kind)


def test_path_lengths_agree_with_sampling(pillar):
    rng = np.random.default_rng(4)
    step = 0.002
    for _ in range(20):
        origin, direction = _random_line(rng)
        samples = origin + np.arange(0.5 * step, 120, step)[:, None] * direction
        codes = pillar.material_at(samples)
        codes[codes == Material.NCA_BOUNDARY] = Material.NCA
        sampled = np.bincount(codes, minlength=len(Material))[1:] * step
        exact = tracing.ray_path_lengths(pillar.solids, origin, direction, len(Material))[1:]
        crossings = len(tracing.ray_intervals(pillar.solids, origin, direction)[0])
        # each end of an interval is known to half a step
        assert np.abs(exact - sampled).max() <= step * max(crossings, 1)


def test_intervals_and_gaps_fill_the_cylinder(pillar):
    """Level lines: free space between the first and last crossing of the cylinder is void, and no interval exceeds the
    chord."""
    for y in (-19.0, -7.5, 0.0, 12.3):
        half = np.sqrt(20.0**2 - y**2)
        origin, along = np.array([-50.0, y, 0.5]), np.array([1.0, 0.0, 0.0])
        t_in, t_out, _ = tracing.ray_intervals(pillar.solids, origin, along)
        assert t_in[0] >= 50 - half - 1e-9
        assert t_out[-1] <= 50 + half + 1e-9
        gaps = np.column_stack([np.r_[50 - half, t_out], np.r_[t_in, 50 + half]])
        gaps = gaps[gaps[:, 1] - gaps[:, 0] > 1e-9]
        middles = origin + gaps.mean(axis=1)[:, None] * along
        assert (pillar.material_at(middles) == Material.VACUUM).all()
        assert (t_out - t_in).sum() + np.diff(gaps, axis=1).sum() == pytest.approx(2 * half)


def test_average_part_is_one_chord(pillar):
    y = 7.0
    lengths = tracing.ray_path_lengths(
        pillar.solids, np.array([-50.0, y, -80.0]), np.array([2.0, 0.0, 0.0]), len(Material)
    )
    assert lengths[Material.PILLAR_AVERAGE] == pytest.approx(2 * np.sqrt(20.0**2 - y**2))
    assert lengths.sum() == pytest.approx(lengths[Material.PILLAR_AVERAGE])


def test_columns_go_down_from_where_they_start(pillar):
    rng = np.random.default_rng(5)
    x, y, z = rng.uniform(-15, 15, 100), rng.uniform(-15, 15, 100), rng.uniform(-5, 10, 100)
    for k in range(100):
        tops, bottoms, kinds = tracing.column_intervals(pillar.solids, x[k], y[k], z[k])
        assert tops[0] <= z[k]
        assert (tops > bottoms).all()
        assert (tops[1:] <= bottoms[:-1]).all()
        middles = np.column_stack([np.full((len(tops), 2), (x[k], y[k])), 0.5 * (tops + bottoms)])
        codes = pillar.material_at(middles)
        codes[codes == Material.NCA_BOUNDARY] = Material.NCA
        assert np.array_equal(codes, kinds)
        assert kinds[-1] == Material.CARBON


def test_a_stretch_of_one_material_is_known_without_its_intervals(pillar):
    rng = np.random.default_rng(6)
    known = 0
    for x, y, high in zip(rng.uniform(-15, 15, 400), rng.uniform(-15, 15, 400), rng.uniform(-5, 4.5, 400), strict=True):
        low = high - 0.05
        code = tracing.material_between(pillar.solids, x, y, low, high)
        tops, bottoms, kinds = tracing.column_intervals(pillar.solids, x, y, high)
        whole = len(tops) > 0 and tops[0] >= high - 1e-12 and bottoms[0] <= low
        if code > 0:
            assert whole
            assert kinds[0] == code
            known += 1
        elif code == Material.VACUUM:
            assert len(tops) == 0 or tops[0] <= low
    assert known > 250
    assert tracing.material_between(pillar.solids, 35.0, 0.0, 0.0, 0.1) == -1


@pytest.mark.parametrize("depth", [0.01, 1.0, 8.0])
def test_intervals_are_the_same_down_to_a_limit(pillar, depth):
    rng = np.random.default_rng(7)
    for x, y, z in zip(rng.uniform(-15, 15, 200), rng.uniform(-15, 15, 200), rng.uniform(-5, 4.5, 200), strict=True):
        full, part = (tracing.column_intervals(pillar.solids, x, y, z, low) for low in (-np.inf, z - depth))
        down_to = [[max(bottom, z - depth) for bottom in bottoms if bottom < z] for _, bottoms, _ in (full, part)]
        above = [sum(tops > z - depth) for tops, _, _ in (full, part)]
        assert above[0] == above[1]
        assert down_to[0][: above[0]] == pytest.approx(down_to[1][: above[0]])
        assert (full[2][: above[0]] == part[2][: above[0]]).all()


def test_beside_the_pillar_a_column_meets_the_pedestal(pillar):
    tops, _, kinds = tracing.column_intervals(pillar.solids, 35.0, 0.0, 50.0)
    assert kinds.tolist() == [Material.STEEL, Material.CARBON]
    assert tops[0] == pytest.approx(pillar.settings.top_um - pillar.settings.height_um)
