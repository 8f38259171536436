"""What other instruments measured: a CT volume, a map and an image as TIFFs, placed in each other by the commands."""

import json
import re

import numpy as np
import pytest
import tifffile
import yaml
from scipy.ndimage import gaussian_filter

from tests.correlate.test_register import corners, sims_of
from xrm_sims.data import results
from xrm_sims.exchange import import_file
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material

SHAPE, VOXEL_UM, PER_UM, Z_UM = (56, 176, 176), 0.24, 0.0577, 1.1
FIELD = Raster((128, 128), 14.0, 2.2)
TRUTH = np.array([[-0.6, -0.8, 3.0], [0.8, -0.6, -4.0]])  # turned by 127 degrees
CHANNELS = [
    {"label": name, "mass_u": mass} for name, mass in (("7Li", 7.0), ("27Al", 27.0), ("58Ni", 57.9), ("59Co", 58.9))
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Uids in a fresh data root, and the root."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pillar, rng = CathodePillar(seed=7), np.random.default_rng(5)
    z, y, x = (VOXEL_UM * (np.arange(n) - (n - 1) / 2) for n in SHAPE)
    points = np.stack(np.meshgrid(z, y, x, indexing="ij"), -1).reshape(-1, 3)[:, ::-1]
    active = np.isin(pillar.material_at(points), [Material.LCO, Material.NCA, Material.NCA_BOUNDARY]).reshape(SHAPE)
    grey = gaussian_filter(active.astype(float), 0.15 / VOXEL_UM) + rng.normal(0, 0.06, SHAPE)
    counts = sims_of(pillar, TRUTH, FIELD, Z_UM, rng)
    image = rng.poisson(0.2 * counts[0] + 3.0)
    told = {
        "ct": (np.clip(1e4 * grey + 2e4, 0, 65535), {"kind": "ct_volume", "voxel_um": VOXEL_UM, "slope": PER_UM * 1e-4,
                                                     "intercept": -2 * PER_UM, "units": "1/um"}),
        "sims": (counts, {"kind": "sims_raster", "fov_um": 14.0, "dwell_ms": 2.2, "channels": CHANNELS}),
        "se": (image[None], {"kind": "se_image", "fov_um": 14.0, "source": "ion"}),
    }  # fmt: skip
    uids = {}
    for name, (pages, sidecar) in told.items():
        tifffile.imwrite(folder / f"{name}.tif", np.asarray(pages).astype(np.uint16), photometric="minisblack")
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"sample_name": "cathode 7", **sidecar}))
        uids[name] = import_file(folder / f"{name}.tif", folder / "data")
    return folder / "data", uids


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{ct}", "{sims}"], "the height of its plane in the tomogram is unknown"),
        (["{ct}", "{ct}"], "is a ct_volume, and a sims_raster or an se_image is needed"),
        (["{ct}", "{sims}", "--anywhere", "--z-um", "50"], "z_um: 50 um is outside the volume"),
        (["{ct}", "--anywhere"], "with one run --anywhere has no meaning"),
    ],
)
def test_what_cannot_be_placed(imported, command, tmp_path, words, told):
    data, uids = imported
    ended = command("correlate", *(w.format(**uids) for w in words), "--out", tmp_path / "o", "--data", data)
    assert ended.code == 1
    assert told in ended.err
    assert not (tmp_path / "o").exists()


def test_a_map_of_another_instrument_is_placed_and_its_phases_told(imported, command, tmp_path):
    data, uids = imported
    ended = command(
        "correlate", uids["ct"], uids["sims"], "--anywhere", "--z-um", "1.3", "--out", tmp_path, "--data", data
    )
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "summary.json").read_text())
    assert {"overlay.png", "registration.png", "phases.png"} <= set(told["pictures"])
    assert told["exposed_z_um"] == pytest.approx(Z_UM, abs=0.15)
    kept = results.load(data, uids["sims"], "registration").metadata
    apart = apply_affine(kept["scan_to_specimen"], corners(FIELD)) - apply_affine(TRUTH, corners(FIELD))
    assert 1e3 * np.sqrt((apart**2).sum(axis=1).mean()) < 2 * kept["sigma_nm"] < 300
    assert results.load(data, uids["sims"], "phases").tables["particles"].shape[0] > 3
    # the image of the same field, from the height that the map has told
    image = command("correlate", uids["ct"], uids["se"], "--anywhere", "--z-um", kept["exposed_z_um"],
                    "--out", tmp_path / "se", "--data", data)  # fmt: skip
    assert image.code == 0, image.err
    se = results.load(data, uids["se"], "registration").metadata
    assert se["scan_to_specimen"] == pytest.approx(np.array(kept["scan_to_specimen"]), abs=0.2)


def test_its_volume_is_searched_and_never_dug_into(imported, command, tmp_path):
    data, uids = imported
    assert command("find-rois", uids["ct"], "--data", data).code == 0
    for words in (["find-rois", uids["ct"], "--roi", "1"], ["correlate", uids["ct"], "--out", tmp_path / "o"]):
        ended = command(*words, "--data", data)
        assert ended.code == 1
        assert re.search("is a ct_volume; the uid of a tomography is needed here", ended.err)
