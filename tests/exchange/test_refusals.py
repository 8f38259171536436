"""Refused exports and imports raise one sentence and leave no file."""

import asyncio
import errno
import importlib
import os
import re
import resource
import sys

import h5py
import numpy as np
import pytest

from benchmarks.recon_phantom import parallel_geometry, pillar_with_spheres
from tests.app.conftest import own_lines
from tests.exchange.conftest import write_synchrotron
from xrm_sims.app.common.signals import Interrupted
from xrm_sims.exchange import FORMATS, export_run, import_file
from xrm_sims.exchange.importing import Choices

SMALL = dict.fromkeys(("nxtomo", "dataexchange"), 128 << 10)  # HDF5 writes a little before the frames


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("what", ["full disk", "Ctrl-C"])
def test_an_interrupted_export_leaves_nothing(measured, tmp_path, to, what):
    def stop(stage, share):
        raise Interrupted("interrupted")

    if what == "Ctrl-C":
        with pytest.raises(Interrupted):
            export_run(measured.tomogram, to, tmp_path / "out", measured.data, progress=stop)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL.get(to, 512), hard))
        try:
            with pytest.raises(RuntimeError, match=r"out: could not be written \(.*\); free space and try again"):
                export_run(measured.tomogram, to, tmp_path / "out", measured.data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_in(tmp_path) == []


def test_a_chunk_on_its_way_when_another_fails_is_not_left_behind(measured, tmp_path, monkeypatch):
    storage = pytest.importorskip("zarr.storage")
    write = storage.LocalStore.set

    async def full_and_slow(store, key, value):
        if "/c/" not in key:
            return await write(store, key, value)
        if key.endswith("/0/0/0"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await asyncio.sleep(0.2)  # a slow disk: this chunk ends after the failure
        return await write(store, key, value)

    monkeypatch.setattr("xrm_sims.exchange.ome_zarr.CHUNK_ZYX", (8, 32, 32))
    monkeypatch.setattr(storage.LocalStore, "set", full_and_slow)
    with pytest.raises(RuntimeError, match="No space left on device"):
        export_run(measured.tomogram, "ome-zarr", tmp_path / "out", measured.data)

    async def finish_other_tasks():
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    importlib.import_module("zarr.core.sync").sync(finish_other_tasks())  # wait for the chunks that zarr still writes
    assert left_in(tmp_path) == []


def test_a_disk_that_is_too_small_is_refused_before_writing(measured, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 4_300_000})())
    with pytest.raises(ValueError, match=r"takes 5 MB and its disk has 4 MB left"):
        export_run(measured.tomogram, "raw", tmp_path / "out", measured.data)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{raster}", "--to", "nxtomo"], "is a sims_raster, this format needs a tomography"),
        (["{raster}", "--to", "csv"], "has no table among its results"),
        (["{tomogram}", "--to", "docx"], "--to: needs one of nxtomo, dataexchange, .*, got 'docx'"),
        (["deadbeef", "--to", "raw"], "run 'deadbeef' is not in the catalogue"),
        (["{tomogram}", "--to", "gif", "--out", "{there}"], "already exists; choose another name or add --overwrite"),
    ],
)
def test_exports_are_refused(measured, command, tmp_path, args, message):
    there = tmp_path / "there"
    there.write_text("precious")
    names = {"raster": measured.raster, "tomogram": measured.tomogram, "there": there}
    ended = command("export", *(word.format(**names) for word in args), "--data", measured.data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert re.search(message, line), line
    assert there.read_text() == "precious"


def test_overwrite_replaces_a_folder(measured, tmp_path):
    out = tmp_path / "tables"
    export_run(measured.tomogram, "csv", out, measured.data)
    (out / "old.csv").write_text("old")
    export_run(measured.tomogram, "csv", out, measured.data, overwrite=True)
    assert "old.csv" not in left_in(out)
    assert left_in(tmp_path) == ["tables"]


@pytest.mark.parametrize("module", ["nxtomo.application.nxtomo", "tifffile", "zarr"])
def test_a_missing_library_raises_the_install_command(measured, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    to = {"tifffile": "imagej", "zarr": "ome-zarr"}.get(module, "nxtomo")
    with pytest.raises(RuntimeError, match=r"is not installed.*pip install 'xrm-sims\[exchange\]'"):
        export_run(measured.tomogram, to, tmp_path / "out", measured.data)
    assert left_in(tmp_path) == []


@pytest.fixture
def scan_file(tmp_path):
    geometry = parallel_geometry(48, 4, 12)
    return write_synchrotron(tmp_path / "scan.h5", geometry, pillar_with_spheres(48, 4, 3, count=5))


def change(path, name, value):
    with h5py.File(path, "r+") as file:
        del file[f"exchange/{name}"]
        if value is not None:
            file[f"exchange/{name}"] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("theta", None, "needs 12 angles in /exchange/theta, one per frame, got nothing"),
        ("theta", np.zeros(7), r"needs 12 angles in /exchange/theta, one per frame, got float64 \(7,\)"),
        ("theta", "north", "needs 12 angles in /exchange/theta"),
        ("data", np.zeros((4, 4)), r"needs numbers \(frame, row, column\) in /exchange/data, got float64 \(4, 4\)"),
        ("data_white", None, "needs numbers .* in /exchange/data_white, got nothing"),
        ("data_white", np.zeros((2, 4, 9)), r"/exchange/data_white has frames of \(4, 9\) pixels"),
        ("data_dark", np.array([[["a"]]], "S1"), r"in /exchange/data_dark, got \|S1"),
        ("data", None, "neither an NXtomo entry nor DataExchange's /exchange/data"),
    ],
)
@pytest.mark.usefixtures("nothing_new")
def test_inconsistent_scans_are_refused(measured, scan_file, name, value, message):
    change(scan_file, name, value)
    with pytest.raises(ValueError, match=message):
        import_file(scan_file, measured.data, Choices(pixel_um=1.0))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[: len(content) // 2], "is damaged or has another layout .*truncated file"),
        (lambda content: content[:40], "is damaged|is neither HDF5"),
        (lambda content: b"hello" * 100, "is neither HDF5 .* nor TIFF"),
        (lambda content: b"", "is neither HDF5"),
    ],
)
@pytest.mark.usefixtures("nothing_new")
def test_damaged_and_unknown_files_are_refused(measured, scan_file, spoil, message):
    scan_file.write_bytes(spoil(scan_file.read_bytes()))
    with pytest.raises(ValueError, match=message):
        import_file(scan_file, measured.data, Choices(pixel_um=1.0))


@pytest.mark.usefixtures("nothing_new")
def test_a_missing_pixel_size_and_a_missing_file_are_refused(measured, scan_file, command):
    ended = command("import", scan_file, "--data", measured.data)
    assert ended.code == 1
    assert "has no pixel size; give its size at the specimen with --pixel-um" in ended.err
    assert "does not exist" in command("import", scan_file.with_name("none.h5"), "--data", measured.data).err


@pytest.mark.usefixtures("nothing_new")
def test_an_import_on_a_full_disk_leaves_nothing(measured, scan_file):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        with pytest.raises(RuntimeError, match=os.strerror(errno.EFBIG)):
            import_file(scan_file, measured.data, Choices(pixel_um=1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
