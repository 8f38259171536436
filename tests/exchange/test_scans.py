"""Export and import of scans, read by other software: h5py, nxtomo, silx, and as dxchange reads."""

import os
import shutil

import h5py
import numpy as np
import pytest
import silx.io
from event_model import DocumentNames, schema_validators
from nxtomo.application.nxtomo import NXtomo

import recon
from benchmarks.recon_phantom import parallel_geometry, pillar_with_spheres, truth
from tests.exchange.conftest import run_documents, write_synchrotron
from xrm_sims.data import open_catalog
from xrm_sims.data.journal import journal_path, read_journal
from xrm_sims.data.layout import Layout
from xrm_sims.exchange import export_run, import_file
from xrm_sims.exchange.importing import Choices
from xrm_sims.exchange.round_trip import READINGS

KEYS = {"primary": 0, "flat": 1, "dark": 2, "reference": -1}


@pytest.fixture(scope="module")
def nxtomo_file(measured, tmp_path_factory):
    return export_run(measured.tomogram, "nxtomo", tmp_path_factory.mktemp("nxtomo") / "scan.nx", measured.data)


def test_nxtomo_holds_what_was_measured(measured, nxtomo_file):
    run = run_documents(measured.tomogram, measured.data)
    geometry = run.start["geometry"]
    with h5py.File(nxtomo_file) as file:
        entry = file["entry"]
        detector = entry["instrument/detector"]
        keys = detector["image_key_control"][...]
        assert set(detector["image_key"][...].tolist()) == {0, 1, 2}
        for stream, key in KEYS.items():
            np.testing.assert_array_equal(detector["data"][keys == key], run.frames[stream])
        assert detector["data"].dtype == run.frames["primary"].dtype
        angles = [data["rotation_angle_deg"] for data in run.readings["primary"]]
        assert entry["sample/rotation_angle"][keys == 0].tolist() == angles
        np.testing.assert_allclose(entry["control/data"][keys == 0], 400e-9, rtol=0.05)
        assert entry["instrument/source/name"].asstr()[()] == "electron beam on W"
        assert entry["instrument/source/distance"][()] == pytest.approx(-1e-3 * geometry["source_object_mm"])
        flight_mm = geometry["source_detector_mm"] - geometry["source_object_mm"]
        assert detector["distance"][()] == pytest.approx(1e-3 * flight_mm)
        assert detector["distance"].attrs["units"] == "m"
        assert detector["x_pixel_size"][()] == pytest.approx(1e-3 * geometry["pixel_mm"])
        np.testing.assert_array_equal(entry["data/data"][0], detector["data"][0])
        provenance = entry["notes/data"].asstr()[()]
        assert measured.tomogram in provenance
        assert "licence: CC-BY-4.0" in provenance
        assert "bluesky" in provenance


def test_nxtomo_is_read_by_its_own_library_and_silx(measured, nxtomo_file):
    assert NXtomo.get_valid_entries(str(nxtomo_file)) == ("/entry",)
    loaded = NXtomo().load(str(nxtomo_file), "/entry", detector_data_as="as_numpy_array")
    NXtomo.check_consistency(loaded, raises_error=True)
    assert loaded.sample.name == "cathode 7"
    assert loaded.instrument.source.distance.magnitude < 0 < loaded.instrument.detector.distance.magnitude
    with silx.io.open(str(nxtomo_file)) as file:
        assert file["entry/data"].attrs["signal"] == "data"
        assert file["entry/data/data"].shape == loaded.instrument.detector.data.shape


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
def test_an_imported_nxtomo_reconstructs_to_the_same_volume(measured, nxtomo_file, link):
    """Counts and angles bit for bit, valid documents, and the same volume."""
    uid = import_file(nxtomo_file, measured.data, Choices(link=link, operator="somebody"))
    before, after = run_documents(measured.tomogram, measured.data), run_documents(uid, measured.data)
    assert after.start["imported"]["run_uids"] == [measured.tomogram]
    assert (after.start["sample_name"], after.start["operator"]) == ("cathode 7", "somebody")
    assert after.start["licence"] == "CC-BY-4.0"
    for stream in KEYS:
        for one, other in zip(after.readings[stream], before.readings[stream], strict=True):
            assert one == {key: other[key] for key in READINGS}
        np.testing.assert_array_equal(after.frames[stream], before.frames[stream])
    for name, doc in read_journal(journal_path(Layout(measured.data).journal, uid)):
        schema_validators[DocumentNames[name]].validate(doc)
    options = {"correct": False, "sweeps": 1, "tv": 0, "voxel_um": 1.6, "volume_shape": (8, 40, 40)}
    broker = open_catalog(measured.data).v1
    volumes = [recon.from_run(broker[run], **options).volume for run in (measured.tomogram, uid)]
    np.testing.assert_array_equal(*volumes)
    assert volumes[0].max() > 0


def test_frames_with_a_missing_link_raise_instead_of_reading_zeros(measured, nxtomo_file, tmp_path):
    moved = shutil.copy(nxtomo_file, tmp_path / "scan.nx")
    uid = import_file(moved, measured.data, Choices(link=True))
    run = open_catalog(measured.data).v1[uid]
    os.truncate(moved, os.path.getsize(moved) - 10_000)
    with pytest.raises(ValueError, match=r"links to .*scan.nx, which is truncated"):
        recon.prepare_run(run)
    moved.unlink()
    with pytest.raises(ValueError, match=r"links to .*scan.nx, which is missing"):
        recon.prepare_run(run)


def test_dataexchange_read_the_way_dxchange_does(measured, tmp_path):
    """As ``read_aps_32id``: data, white, dark and theta by name; tomopy turns theta to radians."""
    path = export_run(measured.tomogram, "dataexchange", tmp_path / "scan.h5", measured.data, licence="CC0")
    run = run_documents(measured.tomogram, measured.data)
    with h5py.File(path) as file:
        projections, flat, dark, theta = (
            file[f"exchange/{name}"][...] for name in ("data", "data_white", "data_dark", "theta")
        )
        assert file["implements"].asstr()[()].split(":")[0] == "exchange"
        assert file["exchange/theta"].attrs["units"] == "degrees"
        assert "licence: CC0" in file["process/about"].asstr()[()]
    assert projections.shape[0] == len(theta) == 9
    normalised = (projections - dark.mean(0)) / np.maximum(flat.mean(0) - dark.mean(0), 1e-6)
    assert 0 < np.median(normalised) < 1.2
    np.testing.assert_array_equal(projections, run.frames["primary"])
    np.testing.assert_array_equal(flat, run.frames["flat"])
    np.testing.assert_array_equal(np.radians(theta), np.radians(40.0 * np.arange(9)))
    uid = import_file(path, measured.data)
    np.testing.assert_array_equal(run_documents(uid, measured.data).frames["primary"], projections)


def test_a_synchrotron_scan_is_reconstructed(measured, tmp_path, command):
    geometry = parallel_geometry(64, 8, 60, detector_offset_px=(0.0, 5.5))
    phantom = pillar_with_spheres(48, 8, 3, count=20)
    path = write_synchrotron(tmp_path / "pillar.h5", geometry, phantom)
    data = measured.data
    ended = command("import", path, "--link", "--pixel-um", geometry.pixel_um, "--axis-column", 37, "--data", data)
    assert ended.code == 0, ended.err
    uid = ended.out.strip()
    built = run_documents(uid, data).start["geometry"]
    assert built["pixel_um"] == geometry.pixel_um
    assert built["detector_offset_px"] == [0.0, 5.5]
    done = command("reconstruct", uid[:8], "--no-correct", "--sweeps", "1", "--tv", "0", "--data", data)
    assert done.code == 0, done.err
    assert "parallel beam, 60 views" in done.out
    out = command("export", uid, "--to", "raw", "--out", tmp_path / "raw", "--data", data)
    assert out.code == 0, out.err
    volume = np.fromfile(tmp_path / "raw" / "volume.raw", "<f4").reshape(8, 64, 64)
    assert np.corrcoef(volume.ravel(), truth(phantom, (8, 64, 64)).ravel())[0, 1] > 0.8


def test_the_tooth_is_imported_and_exported(tooth, measured, tmp_path, command):
    data = measured.data
    uid = command("import", tooth, "--pixel-um", "1", "--axis-column", "296", "--data", data).out.strip()
    assert command("reconstruct", uid, "--no-correct", "--data", data).code == 0
    ended = command("export", uid, "--to", "dataexchange", "--out", tmp_path / "again.h5", "--data", data)
    assert ended.code == 0, ended.err
    with h5py.File(tooth) as one, h5py.File(tmp_path / "again.h5") as other:
        for name in ("data", "data_white", "data_dark", "theta"):
            np.testing.assert_array_equal(one[f"exchange/{name}"][...], other[f"exchange/{name}"][...])
