"""Import of TIFFs from other instruments as volumes, images and maps."""

import json

import numpy as np
import pytest
import tifffile
import yaml

from tests.exchange.conftest import run_documents
from xrm_sims.app.common.rasters import raster_of
from xrm_sims.data import find_run, read_counts, results
from xrm_sims.exchange import export_run, import_file

CHANNELS = [{"label": "7Li", "mass_u": 7.016}, {"label": "59Co", "mass_u": 58.933}]
VOLUME = {
    "kind": "ct_volume",
    "voxel_um": 0.25,
    "slope": 0.001,
    "units": "1/um",
    "licence": "CC0",
    "instrument": "Xradia",
}
SIMS = {"kind": "sims_raster", "fov_um": 12.0, "dwell_ms": 0.5, "channels": CHANNELS}
SE = {"kind": "se_image", "fov_um": 30.0, "source": "ion"}
RNG = np.random.default_rng(2)


def write_stack(path, array, sidecar, **changes):
    tifffile.imwrite(path, array, photometric="minisblack")
    path.with_suffix(".yaml").write_text(yaml.safe_dump({"sample_name": "pillar", **sidecar, **changes}))
    return path


def test_a_volume(tmp_path, measured):
    grey = RNG.integers(0, 2000, (12, 30, 40), dtype=np.uint16)
    uid = import_file(write_stack(tmp_path / "ct.tif", grey, VOLUME), measured.data)
    kept = results.load(measured.data, uid, "volume")
    np.testing.assert_allclose(kept.arrays["volume"], 0.001 * grey, rtol=1e-6)
    assert (kept.metadata["voxel_um"], kept.metadata["units"]) == (0.25, "1/um")
    start = find_run(uid, measured.data).metadata["start"]
    assert (start["scan_type"], start["sample_name"], start["licence"]) == ("ct_volume", "pillar", "CC0")
    again = export_run(uid, "ome-tiff", tmp_path / "again.ome.tif", measured.data)
    np.testing.assert_array_equal(tifffile.imread(again), kept.arrays["volume"])


def test_a_folder_of_slices_in_the_order_of_their_numbers(tmp_path, measured):
    (tmp_path / "slices").mkdir()
    for n in range(11):
        tifffile.imwrite(tmp_path / "slices" / f"s{n}.tif", np.full((8, 9), n, np.uint8))
    (tmp_path / "slices.json").write_text(json.dumps({**VOLUME, "sample_name": "pillar"}))
    uid = import_file(tmp_path / "slices", measured.data)
    assert results.load(measured.data, uid, "volume").arrays["volume"][:, 0, 0].tolist() == pytest.approx(
        [0.001 * n for n in range(11)]
    )


def test_sims_maps(tmp_path, measured):
    counts = RNG.poisson(3.0, (3, 2, 16, 20)).astype(np.uint16)
    uid = import_file(write_stack(tmp_path / "sims.tif", counts.reshape(-1, 16, 20), SIMS), measured.data)
    kept, start = read_counts(uid, "sector_counts", measured.data)
    np.testing.assert_array_equal(kept, counts)
    assert start["channels"] == CHANNELS
    raster = raster_of(start)
    assert (raster.shape, raster.fov_um, raster.dwell_ms) == ((16, 20), 12.0, 0.5)


def test_an_image(tmp_path, measured):
    image = RNG.integers(0, 255, (40, 50), dtype=np.uint8)
    uid = import_file(write_stack(tmp_path / "se.tif", image, SE), measured.data)
    kept, start = read_counts(uid, "se_image", measured.data)
    np.testing.assert_array_equal(kept, image[None])
    assert (start["fov_um"], start["centre_um"], start["source"]) == (30.0, [0.0, 0.0], "ion")
    assert run_documents(uid, measured.data).start["imported"]["file"] == "se.tif"


@pytest.mark.parametrize(
    ("sidecar", "changes", "message"),
    [
        (VOLUME, {"voxel_um": -1}, "voxel_um: input should be greater than 0"),
        (VOLUME, {"kind": "photo"}, "kind: .*'ct_volume', 'se_image', 'sims_raster'"),
        (VOLUME, {"voxel_nm": 3}, "voxel_nm: extra inputs are not permitted"),
        (SIMS, {"channels": []}, "channels: tuple should have at least 1 item"),
        (SIMS, {"channels": 5 * CHANNELS}, "12 pages cannot be divided into frames of 10 channels"),
    ],
)
@pytest.mark.usefixtures("nothing_new")
def test_invalid_descriptions_are_refused(tmp_path, measured, sidecar, changes, message):
    path = write_stack(tmp_path / "x.tif", np.ones((12, 8, 8), np.uint16), sidecar, **changes)
    with pytest.raises(ValueError, match=message):
        import_file(path, measured.data)


@pytest.mark.usefixtures("nothing_new")
def test_invalid_stacks_are_refused(tmp_path, measured):
    path = write_stack(tmp_path / "ct.tif", np.ones((12, 64, 64), np.float32), VOLUME)
    whole = path.read_bytes()
    cases = {
        r"ct.tif: is a damaged TIFF": whole[: len(whole) // 2],
        r"ct.tif: is not a TIFF, or is damaged": b"GIF89a" + bytes(200),
    }
    for message, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            import_file(path, measured.data)
    write_stack(path, np.full((12, 8, 8), np.nan, np.float32), VOLUME)
    with pytest.raises(ValueError, match="page 0 has numbers that are not finite"):
        import_file(path, measured.data)
    write_stack(path, -np.ones((12, 8, 8), np.int16), SIMS)
    with pytest.raises(ValueError, match="frame 0 has negative numbers"):
        import_file(path, measured.data)
    path.with_suffix(".yaml").unlink()
    with pytest.raises(ValueError, match=r"needs a description beside it \(ct.yaml, ct.yml, ct.json\)"):
        import_file(path, measured.data)
