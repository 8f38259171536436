"""A labelled data set of a tomogram and a map of the twin: true labels coincide with the specimen in the volume."""

import csv
import json

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

import plans
from tests.app.conftest import own_lines
from xrm_sims.app.session.session import open_session
from xrm_sims.app.validation import dataset
from xrm_sims.app.validation.truth import ACTIVE, CLASSES
from xrm_sims.data import results
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material

SEED, SHAPE, VOXEL_UM, RAISED_UM = 3, (40, 110, 110), 0.4, 0.73
CODES = {Material.BINDER: "binder", Material.LCO: "LCO", Material.NCA: "NCA", Material.NCA_BOUNDARY: "NCA"}
SCAN = {"num": 2, "step_deg": 180, "binning": 8, "num_dark": 1, "num_flat": 1}


def voxels_um(chosen):
    """Middles (x, y, z) of voxels (n, 3) of indices (z, y, x), in the volume's frame."""
    return ((np.asarray(chosen) - 0.5 * (np.array(SHAPE) - 1)) * VOXEL_UM)[:, ::-1]


@pytest.fixture(scope="module")
def specimen():
    return CathodePillar(SEED)


@pytest.fixture(scope="module")
def measured(shared_data, specimen):
    """Runs of the twin before and after milling; the volume is the true specimen, raised."""
    with open_session(shared_data, seed=SEED) as session:
        before = session.run(plans.tomography(session.scope, **SCAN))
        raster = session.run(plans.sims_raster(session.scope, shape=(8, 8), fov_um=2.0))
        after = session.run(plans.tomography(session.scope, **SCAN))
    points = voxels_um(np.indices(SHAPE).reshape(3, -1).T) - [0, 0, RAISED_UM]
    volume = 0.05 * np.isin(specimen.material_at(points), ACTIVE).reshape(SHAPE)
    volume = (volume + np.random.default_rng(1).normal(0, 0.02, SHAPE)).astype(np.float32)
    about = {"units": "1/um", "axes": ["z", "y", "x"], "voxel_um": VOXEL_UM}
    for uid in (before, after):
        results.save(shared_data, uid, "volume", {"volume": volume}, about)
    results.save(shared_data, before, "segmentation", {"phases": (volume > 0.025).astype(np.uint8)})
    return shared_data, before, raster, after


@pytest.fixture(scope="module")
def written(measured, tmp_path_factory):
    data, before, raster, after = measured
    out = tmp_path_factory.mktemp("sets") / "set"
    dataset.export_dataset([before, raster, after, before], out, data, licence="CC-BY-4.0")
    return out


@pytest.fixture(scope="module")
def card(written):
    return json.loads((written / "dataset.json").read_text())


def item_of(card, uid):
    (item,) = [item for item in card["items"] if item["about"]["run_uids"] == [uid]]
    return item


def test_the_card_lists_all_items(measured, written, card):
    _, before, raster, after = measured
    assert len(card["items"]) == 3  # a run that was named twice is there once
    assert {item["specimen"] for item in card["items"]} == {f"cathode_pillar:{SEED}"}
    assert sorted(card["splits"]["train"]) == sorted(item["path"] for item in card["items"])
    assert card["licences"] == ["CC-BY-4.0"]
    truth = item_of(card, before)
    assert truth["labels"] == {
        "phases": "computed",
        "truth_material": "truth",
        "truth_particle": "truth",
        "truth_defect": "truth",
    }
    assert truth["raised_um"] == pytest.approx(RAISED_UM, abs=0.25 * VOXEL_UM)
    assert (truth["pixel_um"], truth["units"], truth["shape"]) == (VOXEL_UM, "1/um", list(SHAPE))
    assert "ions had milled" in item_of(card, after)["no_truth_because"]
    assert item_of(card, raster)["labels"] == {}
    text = (written / "README.md").read_text()
    for words in ("CC-BY-4.0", before, raster, f"cathode_pillar:{SEED}", "0.4 µm", "4 pore, 5 crack", "numpy "):
        assert words in text


def test_labels_are_the_truth_at_each_voxel(measured, written, card, specimen):
    item = item_of(card, measured[1])
    nodes = {
        str(node.zarr.path).rstrip("/").rsplit("/", 1)[-1]: node for node in Reader(parse_url(written / item["path"]))()
    }
    assert {"truth_material", "truth_defect"} <= set(nodes)  # a foreign reader finds them
    material = zarr.open_group(written / item["path"], mode="r")["labels/truth_material/0"][...]
    chosen = np.random.default_rng(2).integers(0, SHAPE, (4000, 3))
    points = voxels_um(chosen) - [0, 0, item["raised_um"]]
    true, seen = specimen.material_at(points), material[tuple(chosen.T)]
    for code, name in CODES.items():
        assert (seen[true == code] == CLASSES[name]).all()
    assert np.isin(
        seen[true == Material.VACUUM], [CLASSES[name] for name in ("outside", "void", "pore", "crack")]
    ).all()


def test_defects_of_the_table_lie_where_their_labels_do(measured, written, card):
    item = item_of(card, measured[1])
    defect = zarr.open_group(written / item["path"], mode="r")["labels/truth_defect/0"][...]
    with open(written / item["defects"], newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["kind"] == "pore" and float(row["diameter_um"]) > 2 * VOXEL_UM
        ]
    assert len(rows) > 10
    for row in rows:
        place = np.array([float(row[name]) for name in ("z_um", "y_um", "x_um")])
        k, j, i = np.rint(place / VOXEL_UM + 0.5 * (np.array(SHAPE) - 1)).astype(int)
        assert defect[k, j, i] == int(row["number"])


@pytest.mark.parametrize(
    ("which", "twin", "message"),
    [(3, "twin", "ions had milled the specimen before"), (2, "gone", "is not from the twin of this data root")],
)
def test_required_labels_that_are_unknown_are_refused(measured, command, tmp_path, which, twin, message):
    data = measured[0]
    (data / "twin").rename(data / twin)
    try:
        ended = command(
            "export", measured[which], "--to", "dataset", "--labels", "--out", tmp_path / "s", "--data", data
        )
    finally:
        (data / twin).rename(data / "twin")
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert "--labels: " in line
    assert message in line
    assert not list(tmp_path.iterdir())


def test_without_labels(measured, command, tmp_path):
    data, before, *_ = measured
    ended = command("export", before, "--to", "dataset", "--no-labels", "--out", tmp_path / "set", "--data", data)
    assert ended.code == 0, ended.err
    (item,) = json.loads((tmp_path / "set/dataset.json").read_text())["items"]
    assert item["labels"] == {"phases": "computed"}
    assert item["no_truth_because"] == "labels were switched off"


def test_a_volume_of_something_else_has_no_truth(measured, command, tmp_path):
    data, before, _, _ = measured
    kept = results.load(data, before, "volume")
    other = np.random.default_rng(5).normal(0, 1, SHAPE).astype(np.float32)
    about = {name: kept.metadata[name] for name in ("units", "axes", "voxel_um")}
    results.save(data, before, "volume", {"volume": other}, about)
    try:
        ended = command("export", before, "--to", "dataset", "--labels", "--out", tmp_path / "set", "--data", data)
    finally:
        results.save(data, before, "volume", {"volume": kept.arrays["volume"]}, about)
    assert ended.code == 1
    assert f"does not match cathode_pillar:{SEED} (correlation 0.0" in ended.err


def test_other_formats_take_one_run(measured, command):
    data, before, raster, _ = measured
    ended = command("export", before, raster, "--to", "gif", "--data", data)
    assert ended.code == 1
    assert "takes one run, got 2; several go into a dataset" in ended.err


def test_specimens_are_split_whole_and_always_alike():
    def items(*names):
        return [dataset.Item(None, name) for name in names]

    few = items("a", "b", "a", "c")
    dataset._split(few)
    assert few[0].split == few[2].split
    assert {item.split for item in few} == {"train", "validation", "test"}
    many = items(*(f"cathode_pillar:{n}" for n in range(20)))
    dataset._split(many)
    counted = [sum(item.split == split for item in many) for split in dataset.SPLITS]
    assert counted == [14, 3, 3]
