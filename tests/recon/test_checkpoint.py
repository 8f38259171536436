import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import exact_projections, random_spheres, scan_geometry

WIDTH, HEIGHT, VIEWS = 32, 24, 40
GEOMETRY = scan_geometry(WIDTH, HEIGHT, VIEWS)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def p():
    return exact_projections(random_spheres(WIDTH, HEIGHT, seed=3), GEOMETRY)


def interrupted(p, path, after, **options):
    def progress(fraction):
        if fraction > after:
            raise Killed

    with pytest.raises(Killed):
        recon.sart(p, GEOMETRY, sweeps=3, checkpoint=path, progress=progress, **options)


@pytest.mark.parametrize("after", [0.1, 0.5, 0.9])
def test_an_interrupted_reconstruction_continues_to_the_same_result(p, tmp_path, after):
    path = tmp_path / "volume.h5"
    interrupted(p, path, after)
    assert path.exists() == (after > 1 / 3)
    fractions = []
    resumed = recon.sart(p, GEOMETRY, sweeps=3, checkpoint=path, progress=fractions.append)
    whole = recon.sart(p, GEOMETRY, sweeps=3)
    assert np.array_equal(resumed.volume, whole.volume)
    assert resumed.residuals == pytest.approx(whole.residuals)
    assert fractions[0] > int(3 * after) / 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", [{"relaxation": 0.5}, {"guide": np.ones(GEOMETRY.volume_shape)}])
def test_a_checkpoint_of_other_data_is_named_and_not_used(p, tmp_path, other):
    path = tmp_path / "volume.h5"
    interrupted(p, path, 0.5, **other)
    with pytest.warns(UserWarning, match=r"volume\.h5: made from other data or options"):
        result = recon.sart(p, GEOMETRY, sweeps=1, checkpoint=path)
    assert np.array_equal(result.volume, recon.sart(p, GEOMETRY, sweeps=1).volume)


def test_a_checkpoint_that_cannot_be_read_is_named(p, tmp_path):
    path = tmp_path / "volume.h5"
    path.write_bytes(b"not an HDF5 file")
    with pytest.warns(UserWarning, match=r"volume\.h5: cannot be read"):
        recon.sart(p, GEOMETRY, sweeps=1, checkpoint=path)


def test_a_missing_folder_is_named(p, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint: folder .*nowhere is not there"):
        recon.sart(p, GEOMETRY, checkpoint=tmp_path / "nowhere" / "volume.h5")
