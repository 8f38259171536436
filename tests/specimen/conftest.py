import numpy as np
import pytest

from xrm_sims.specimen import CathodePillar


@pytest.fixture(scope="session", params=[1, 2, 3])
def pillar(request):
    return CathodePillar(request.param)


@pytest.fixture(scope="session")
def points_in():
    """Return uniform points in the detailed part of a pillar."""

    def draw(pillar, n, seed=0):
        rng = np.random.default_rng(seed)
        settings = pillar.settings
        radius = 0.5 * settings.diameter_um * np.sqrt(rng.random(n))
        phi = 2 * np.pi * rng.random(n)
        z = settings.top_um - settings.detail_depth_um * rng.random(n)
        return np.column_stack([radius * np.cos(phi), radius * np.sin(phi), z])

    return draw
