"""An experiment as a notebook sees it: the numbers of the files, on axes in um, deg and u, here and over HTTP."""

from __future__ import annotations

from types import SimpleNamespace

import dask.array
import numpy as np
import pytest

from tests.data.conftest import Camera, frame_of, recording
from xrm_sims.data import list_runs, open_experiment, results
from xrm_sims.data.catalog import disconnect
from xrm_sims.data.layout import Layout
from xrm_sims.data.server import TiledServer
from xrm_sims.geometry import ConeGeometry, scan_angles

ROWS, COLUMNS, VIEWS = 4, 6, 5
GEOMETRY = ConeGeometry(
    source_object_mm=0.4,
    source_detector_mm=440.0,
    pixel_mm=0.44,
    detector_shape=(ROWS, COLUMNS),
    angles_deg=scan_angles(VIEWS, 0.3),
    volume_shape=(4, 6, 6),
    voxel_um=0.5,
    detector_offset_px=(0.0, 1.5),
)
CHANNELS = [
    {"label": "7Li", "mass_u": 7.016, "radius_mm": 90.0},
    {"label": "59Co", "mass_u": 58.933, "radius_mm": 200.0},
]
MAPS = (2, 6, 8)
VOLUME = np.random.default_rng(5).normal(1.0, 0.1, (4, 6, 8)).astype(np.float32)
VOXEL_UM = 0.5
AFFINE = [[0.25, 0.0, -1.0], [0.0, 0.5, -1.25]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A tomogram in two parts with a volume, a raster in two parts, and an SE image, of which the first and the raster
    belong together."""
    data = tmp_path_factory.mktemp("experiment") / "data"
    together = {"experiment_uid": "e" * 36, "sample_name": "cathode 7", "versions": {"bluesky": "1"}}
    with recording(data) as record:

        def take(num, key, shape, **md):
            return record(num, {**together, **md}, camera=Camera(Layout(data).frames, key, shape))

        tomography = {"scan_type": "tomography", "geometry": GEOMETRY.as_dict(), "exposure_s": 90.0}
        scan = take(3, "widepix_image", (ROWS, COLUMNS), **tomography)
        rest = take(VIEWS, "widepix_image", (ROWS, COLUMNS), **tomography, resumes_uid=scan)
        raster = {"scan_type": "sims_raster", "channels": CHANNELS, "fov_um": 8.0, "centre_um": [1.0, 2.0]}
        begun = take(2, "sector_counts", MAPS, **raster, frame_indices=[0, 2])
        gone_on = take(1, "sector_counts", MAPS, **raster, frame_indices=[1], resumes_uid=begun)
        alone = {"scan_type": "se_image", "fov_um": 40.0, "centre_um": [1.0, 2.0], "experiment_uid": None}
        image = take(1, "se_image", (6, 8), **alone)
        record.recorder.flush()
        about = {"units": "1/um", "axes": ["z", "y", "x"], "voxel_um": VOXEL_UM}
        results.save(data, scan, "volume", {"volume": VOLUME}, about)
        results.save(data, begun, "registration", metadata={"sims_to_specimen": AFFINE, "exposed_z_um": 0.25})
        yield SimpleNamespace(data=data, scan=scan, rest=rest, begun=begun, gone_on=gone_on, image=image)
    disconnect(data)


@pytest.fixture(scope="module")
def experiment(measured):
    return open_experiment(measured.rest[:9], measured.data)


def test_projections_of_all_parts_lie_over_their_angles(measured, experiment):
    shots = experiment.projections()
    assert isinstance(shots.data, dask.array.Array)
    assert shots.dims == ("angle", "row", "column")
    np.testing.assert_allclose(shots.angle, GEOMETRY.angles_deg)
    np.testing.assert_array_equal(shots, [frame_of(n, (ROWS, COLUMNS)) for n in range(VIEWS)])
    np.testing.assert_allclose(shots.y, 0.4 * (np.arange(COLUMNS) - 2.5 - 1.5), err_msg="0.44 mm at magnification 1100")
    np.testing.assert_allclose(shots.z, 0.4 * (np.arange(ROWS) - 1.5))
    assert (shots.angle.attrs["units"], shots.y.attrs["units"], shots.attrs["units"]) == ("deg", "um", "counts")
    assert shots.attrs["part_uids"] == [measured.scan, measured.rest]
    assert (shots.attrs["sample_name"], shots.attrs["versions"]) == ("cathode 7", {"bluesky": "1"})


def test_a_volume_lies_over_the_specimen_frame(measured, experiment):
    for volume in (experiment.volume(), experiment.volume(uid=measured.rest)):
        assert isinstance(volume.data, dask.array.Array)
        np.testing.assert_array_equal(volume, VOLUME)
    np.testing.assert_allclose(volume.z, [-0.75, -0.25, 0.25, 0.75])
    assert (volume.attrs["units"], volume.attrs["uid"], volume.x.attrs["units"]) == ("1/um", measured.scan, "um")
    np.testing.assert_array_equal(volume.sel(z=0.3, method="nearest"), VOLUME[2])


def test_maps_of_all_parts_know_isotopes_and_where_they_are(measured, experiment):
    for part in (None, measured.begun, measured.gone_on):
        maps = experiment.maps(uid=part)
        assert isinstance(maps.data, dask.array.Array)
        assert maps.dims == ("frame", "isotope", "v", "u")
        np.testing.assert_array_equal(maps, [frame_of(n, MAPS) for n in (0, 0, 1)])
    assert maps.frame.values.tolist() == [0, 1, 2]
    assert float(maps.sel(isotope="59Co").mass_u) == 58.933
    np.testing.assert_allclose(maps.u, 1.0 + np.arange(8) - 3.5)
    np.testing.assert_allclose(maps.v, 2.0 + np.arange(6) - 2.5)


def test_registered_maps_find_the_slice_beneath_them(experiment):
    maps = experiment.maps()
    here = maps.isel(v=2, u=3)
    assert (float(here.x), float(here.y), float(here.z)) == (-0.25, -0.25, 0.25)
    beneath = experiment.volume().compute().interp(x=maps.x, y=maps.y, z=maps.z)
    assert beneath.dims == ("v", "u")
    np.testing.assert_allclose(beneath[2, 3], VOLUME[2, 2, 3], rtol=1e-6)


def test_an_image_lies_over_its_scan(measured):
    image = open_experiment(measured.image, measured.data).se_image()
    np.testing.assert_array_equal(image, frame_of(0, (6, 8)))
    np.testing.assert_allclose(image.u, 1.0 + 5.0 * (np.arange(8) - 3.5))


def test_an_address_and_its_key_give_the_same(measured):
    with TiledServer(measured.data) as server:
        address = f"http://127.0.0.1:{server.port}"
        there = open_experiment(measured.scan[:9], address, api_key=server.key)
        np.testing.assert_array_equal(there.projections()[3], frame_of(3, (ROWS, COLUMNS)))
        np.testing.assert_array_equal(there.volume()[1:3], VOLUME[1:3])
        assert open_experiment(measured.image, server.url).uid == measured.image
        assert len(list_runs(server.uri)) == 5
        for key, words in (("0" * 64, "refuses this key"), (None, "wants a key")):
            with pytest.raises(PermissionError, match=words):
                open_experiment(measured.scan, address, api_key=key)
    with pytest.raises(RuntimeError, match="no Tiled server answers at"):
        list_runs(address, api_key=server.key)


def test_runs_are_listed_and_what_is_not_there_is_named(measured, experiment):
    runs = list_runs(measured.data)
    assert runs.index.tolist() == [
        uid[:8] for uid in (measured.scan, measured.rest, measured.begun, measured.gone_on, measured.image)
    ]
    assert runs.loc[measured.rest[:8], ["scan_type", "frames", "ended"]].tolist() == ["tomography", VIEWS, "success"]
    newest = open_experiment(data=measured.data)
    assert newest.uid == measured.image
    for words in ("e" * 36, measured.begun[:8], "cathode 7", f"results of {measured.scan[:8]}: volume"):
        assert words in repr(experiment)
    for ask, words in (
        (newest.maps, "has no sims_raster; its runs are: se_image"),
        (lambda: experiment.projections("flat"), "has no projections in its stream 'flat'"),
        (lambda: experiment.volume(uid="abcde"), "has no run abcde"),
        (newest.volume, "has no result 'volume'; the experiment has none"),
    ):
        with pytest.raises(ValueError, match=words):
            ask()
