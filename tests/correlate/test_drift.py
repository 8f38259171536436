import numpy as np
import pytest

from tests.correlate.rasters import RASTER, counters, frame, settled
from xrm_sims.correlate.maps.drift import TILES, measure_drift


def images(specimen, places_um, seed):
    """Successive frames of one surface at different places, as ions of all channels."""
    surface = settled(specimen)
    taken = [frame(specimen, surface, [seed, n], at_um=at_um) for n, at_um in enumerate(places_um)]
    return [counters().ions(counts).number.sum(axis=0) for counts in taken]


def test_drift_is_recovered_within_its_stated_uncertainty(pillar):
    pulls = []
    for seed in range(4):
        steps_um = np.random.default_rng(seed).normal(0.0, 0.1, (6, 2))
        places_um = np.cumsum(steps_um, axis=0)
        seen = images(pillar, places_um, seed)
        drift = measure_drift(seen.__getitem__, len(seen))
        assert drift.reference == 3
        # the scan moves by (x, y), so its image moves by -(y, x)
        truth_px = -(places_um - places_um[3])[:, ::-1] / RASTER.pixel_um
        assert np.ptp(truth_px) > 1.0
        others = np.arange(6) != 3
        assert not drift.shift_px[3].any()
        assert drift.sigma_px.max() < 0.2
        pulls.append(((drift.shift_px - truth_px) / np.maximum(drift.sigma_px, 1e-9))[others])
    pulls = np.array(pulls)
    assert np.abs(pulls).max() < 4
    # the reference frame is in every difference, so that at most half of the pulls are independent
    assert 0.3 < np.sqrt((pulls**2).mean()) < 1 + 4 / np.sqrt(pulls.size)


def test_frames_that_cannot_be_aligned_are_refused(pillar):
    here, there, afar = images(pillar, [(0.0, 0.0), (0.05, 0.0), (-4.0, 3.0)], 1)
    with pytest.raises(ValueError, match="drift: frame 2 cannot be aligned: "):
        measure_drift([here, there, afar].__getitem__, 3)
    flat = [np.random.default_rng(n).poisson(400.0, (64, 64)).astype(float) for n in range(2)]
    with pytest.raises(ValueError, match=r"drift: frame 0 cannot be aligned: .*(little contrast|beyond the search)"):
        measure_drift(flat.__getitem__, 2)
    with pytest.raises(ValueError, match=r"drift: frames of 16 x 64 pixels are too small to be aligned"):
        measure_drift([here[:16], there[:16]].__getitem__, 2)


def test_halves_that_moved_differently_are_refused(pillar):
    """A frame composed of two shifted ones, one on the black tiles and one on the white tiles."""
    still, elsewhere = images(pillar, [(0.0, 0.0), (0.1, 0.0)], 2)
    margin, tiles = 4, TILES
    tile = np.clip(np.indices(still.shape) - margin, 0, 64 - 2 * margin - 1) * tiles // (64 - 2 * margin)
    torn = np.where(tile.sum(axis=0) % 2 == 0, still, elsewhere)
    with pytest.raises(ValueError, match=r"two halves of the field differ by 0.\d+ px, \d+.\d times"):
        measure_drift([torn, still].__getitem__, 2)
