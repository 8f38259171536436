from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imsave

from xrm_sims.data import open_experiment, open_results, results
from xrm_sims.data.figures import keep_figures

UID = "0" * 36


def test_a_result_comes_back_as_it_was_saved(data):
    rng = np.random.default_rng(5)
    volume = rng.random((21, 257, 260), dtype=np.float32)
    arrays = {"volume": volume, "residuals": np.array([3.0, 2.0]), "mask": volume[0] > 0.5}
    rois = pd.DataFrame({"centre_um": [1.5, 2.5], "kind": ["pore", "crack"]})
    results.save(
        data, UID, "volume", arrays, {"sweeps": np.int64(2), "shift": np.arange(2)}, ["p"], tables={"rois": rois}
    )
    result = results.load(data, UID, "volume")
    assert set(result.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(result.arrays[name], array)
        assert result.arrays[name].dtype == array.dtype
    assert result.tables["rois"].to_dict("list") == rois.to_dict("list")
    about = result.metadata
    assert (about["sweeps"], about["shift"], about["parent_uids"], about["run_uid"]) == (2, [0, 1], ["p"], UID)
    assert {"xrm-sims", "numpy"} <= set(about["versions"])
    np.testing.assert_array_equal(results.find(data, UID, "volume")["volume"][7, 3:5], volume[7, 3:5])


def test_a_volume_lies_in_slabs_of_z(data):
    node = results.save(data, UID, "volume", {"volume": np.zeros((40, 320, 320), np.float32)})
    slabs, rows, columns = node["volume"].chunks
    assert max(slabs) * 320 * 320 * 4 <= results.CHUNK_BYTES
    assert len(slabs) > 1
    assert (rows, columns) == ((320,), (320,))


def test_a_large_volume_has_smaller_scales_beside_it(record, data, monkeypatch):
    """Each voxel of them is the mean of those it stands for, and lies in their middle."""
    monkeypatch.setattr(results, "CHUNK_BYTES", 4 * 100)
    monkeypatch.setattr(results, "LARGE_BYTES", 4 * 1000)
    uid = record(1, {"scan_type": "tomography"})
    volume = np.random.default_rng(6).random((7, 20, 24), dtype=np.float32)
    labels = np.arange(volume.size, dtype=np.int32).reshape(volume.shape)
    about = {"voxel_um": 0.5, "units": "1/um"}
    node = results.save(data, uid, "volume", {"volume": volume, "labels": labels, "mask": volume[0] > 0.5}, about)
    assert sorted(node["smaller"]) == ["labels_2", "labels_4", "volume_2", "volume_4"]
    half, quarter = (node["smaller"][f"volume_{factor}"].read() for factor in (2, 4))
    np.testing.assert_allclose(half[:3], volume[:6].reshape(3, 2, 10, 2, 12, 2).mean((1, 3, 5)), rtol=1e-6)
    np.testing.assert_allclose(half[3], volume[6].reshape(10, 2, 12, 2).mean((1, 3)), rtol=1e-6)
    assert quarter.shape == (2, 5, 6)
    np.testing.assert_array_equal(node["smaller"]["labels_2"].read(), labels[::2, ::2, ::2])
    assert set(results.load(data, uid, "volume").arrays) == {"volume", "labels", "mask"}
    experiment = open_experiment(uid, data)
    fine, coarse = experiment.volume(), experiment.volume(factor=2)
    np.testing.assert_allclose(coarse.y, fine.y.coarsen(y=2).mean())
    np.testing.assert_allclose(coarse.isel(z=slice(3)), fine.isel(z=slice(6)).coarsen(z=2, y=2, x=2).mean(), rtol=1e-6)
    assert coarse.attrs["voxel_um"] == 1.0
    with pytest.raises(ValueError, match="factor: volume is stored with 1, 2, 4; got 3"):
        experiment.volume(factor=3)


def test_figures_are_kept_beside_each_other_as_they_look(data, tmp_path):
    colours = np.random.default_rng(7).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    for name, image in (("overlay", colours), ("drift", colours[::-1])):
        imsave(tmp_path / f"{name}.png", image)
        keep_figures(data, UID, [tmp_path / f"{name}.png", tmp_path / "table.csv"])
    kept = results.load(data, UID, "figures").arrays
    assert set(kept) == {"overlay", "drift"}
    np.testing.assert_array_equal(kept["overlay"], colours)


def test_saving_again_replaces(data):
    results.save(data, UID, "rois", {"old": np.zeros(3)}, tables={"rois": [{"a": 1}]})
    results.save(data, UID, "rois", tables={"rois": [{"a": 2}, {"a": 3}]})
    result = results.load(data, UID, "rois")
    assert not result.arrays
    assert result.tables["rois"]["a"].tolist() == [2, 3]


def test_what_is_not_there_or_half_there_is_refused(data):
    with pytest.raises(ValueError, match="has no result 'volume'; it has none"):
        results.load(data, UID, "volume")
    open_results(data).create_container(UID).create_container("volume", metadata={"complete": False})
    with pytest.raises(ValueError, match="is incomplete: its writer was stopped"):
        results.load(data, UID, "volume")


@pytest.mark.parametrize(
    "call",
    [
        {"run_uid": "", "kind": "a"},
        {"run_uid": UID, "kind": "a/b"},
        {"run_uid": UID, "kind": "a", "arrays": {"..": np.zeros(1)}},
        {"run_uid": UID, "kind": "a", "metadata": {"complete": True}},
        {"run_uid": UID, "kind": "a", "tables": {"empty": []}},
        {"run_uid": UID, "kind": "a", "arrays": {"x": np.zeros(1)}, "tables": {"x": [{"a": 1}]}},
        {"run_uid": UID, "kind": "a", "arrays": {"smaller": np.zeros(1)}},
    ],
)
def test_names_that_cannot_be_are_refused_before_anything_is_written(data, call):
    with pytest.raises(ValueError, match=r"result|metadata|table"):
        results.save(data, **call)
    assert len(open_results(data)) == 0


def test_results_are_found_beside_their_runs(record, data):
    uid = record(1)
    record.recorder.flush()
    results.save(data, uid, "volume", {"volume": np.ones((2, 3, 4))})
    experiment = open_experiment(uid, data)
    assert experiment.result("volume")["volume"].shape == (2, 3, 4)
    with pytest.raises(ValueError, match="has no result 'rois'; the experiment has volume"):
        experiment.result("rois")
    assert "volume" not in experiment.runs[0]
