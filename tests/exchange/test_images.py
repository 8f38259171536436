"""Export of volumes, maps and tables, read by tifffile, OME's own reader and models, Pillow and pandas."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas
import pytest
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05.image import Image as ImageModel
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels
from PIL import Image

from tests.exchange.conftest import VOLUME_SHAPE, VOXEL_UM
from xrm_sims.data import read_counts
from xrm_sims.exchange import export_run

PITCH_UM = 11.8 / 16
OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


@pytest.fixture
def export(measured, tmp_path):
    def run(what, to, **options):
        return export_run(getattr(measured, what), to, tmp_path / f"{what}.{to}", measured.data, **options)

    return run


def test_ome_tiff_of_a_volume(export, measured):
    with tifffile.TiffFile(export("tomogram", "ome-tiff")) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tiff.asarray(), measured.volume)
        pixels = ET.fromstring(tiff.ome_metadata).find(f"{OME}Image/{OME}Pixels")
    for axis in "XYZ":
        assert float(pixels.get(f"PhysicalSize{axis}")) == VOXEL_UM
        assert pixels.get(f"PhysicalSize{axis}Unit") == "µm"


def test_ome_tiff_of_maps_names_isotopes_and_masses(export, measured):
    counts, start = read_counts(measured.raster, "sector_counts", measured.data)
    with tifffile.TiffFile(export("raster", "ome-tiff")) as tiff:
        assert tiff.series[0].axes == "TCYX"
        np.testing.assert_array_equal(tiff.asarray(), counts)
        root = ET.fromstring(tiff.ome_metadata)
    names = [channel.get("Name") for channel in root.iter(f"{OME}Channel")]
    assert names == [channel["label"] for channel in start["channels"]] == ["7Li", "27Al", "58Ni", "59Co"]
    notes = {entry.get("K"): entry.text for entry in root.iter(f"{OME}M")}
    for channel in start["channels"]:
        assert float(notes[f"mass_u {channel['label']}"]) == channel["mass_u"]
    assert notes["units"] == "counts"
    assert notes["licence"] == "CC-BY-4.0"
    assert notes["run_uids"] == measured.raster


def test_a_resumed_raster_is_exported_whole(measured, tmp_path):
    """Frame 1 comes from the second part; the uid of any part exports all."""
    first, second = (read_counts(uid, "sector_counts", measured.data)[0] for uid in measured.parts)
    for uid in measured.parts:
        with tifffile.TiffFile(export_run(uid, "ome-tiff", tmp_path / uid, measured.data)) as tiff:
            np.testing.assert_array_equal(tiff.asarray(), [first[0], second[0], first[2]])
            notes = {entry.get("K"): entry.text for entry in ET.fromstring(tiff.ome_metadata).iter(f"{OME}M")}
        assert notes["run_uids"] == " ".join(measured.parts)


def test_imagej_hyperstack(export, measured):
    """What ImageJ reads: the description, the resolution tag, contiguous pages."""
    with tifffile.TiffFile(export("tomogram", "imagej")) as tiff:
        assert tiff.is_imagej
        assert tiff.imagej_metadata["slices"] == VOLUME_SHAPE[0]
        assert (tiff.imagej_metadata["unit"], tiff.imagej_metadata["spacing"]) == ("um", VOXEL_UM)
        per_um, scale = tiff.pages[0].tags["XResolution"].value
        assert per_um / scale == pytest.approx(1 / VOXEL_UM, rel=1e-6)
        assert measured.tomogram in tiff.imagej_metadata["Info"]
        np.testing.assert_array_equal(tiff.asarray(), measured.volume)
    with tifffile.TiffFile(export("raster", "imagej")) as tiff:
        assert (tiff.imagej_metadata["channels"], tiff.imagej_metadata["frames"]) == (4, 2)
        assert tiff.imagej_metadata["hyperstack"]
        assert tiff.imagej_metadata["Labels"][1] == "27Al (26.9815 u)"
        counts, _ = read_counts(measured.raster, "sector_counts", measured.data)
        np.testing.assert_array_equal(tiff.asarray(), counts)


def test_ome_zarr_is_valid_and_read_by_its_own_reader(export, measured):
    path = export("tomogram", "ome-zarr")
    for model, inside in ((ImageModel, "."), (Labels, "labels"), (ImageLabel, "labels/phases")):
        model.from_zarr(zarr.open_group(path / inside, mode="r"))  # raises when the metadata is invalid
    nodes = list(Reader(parse_url(path))())
    image = nodes[0]
    np.testing.assert_array_equal(image.data[0].compute(), measured.volume)
    assert [level.shape for level in image.data] == [(20, 260, 24), (10, 130, 12), (5, 65, 6)]
    assert [axis["unit"] for axis in image.metadata["axes"]] == ["micrometer"] * 3
    scales = [level[0]["scale"][0] for level in image.metadata["coordinateTransformations"]]
    assert scales == [VOXEL_UM, 2 * VOXEL_UM, 4 * VOXEL_UM]
    expected = measured.volume.reshape(10, 2, 130, 2, 12, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(image.data[1].compute(), expected, rtol=1e-6)
    (phases,) = [node for node in nodes if "phases" in str(node.zarr) and node.data]
    np.testing.assert_array_equal(phases.data[0].compute(), measured.phases)
    about = zarr.open_group(path, mode="r").attrs["xrm_sims"]
    assert about["units"] == "1/um"
    assert about["run_uids"] == [measured.tomogram]


def test_levels_of_the_pyramid_are_aligned(export):
    """The middle of the field is at the same place on all levels whose size is even."""
    attributes = zarr.open_group(export("tomogram", "ome-zarr"), mode="r").attrs["ome"]["multiscales"][0]
    for dataset, n in zip(attributes["datasets"][:2], (260, 130), strict=True):
        scale, shift = dataset["coordinateTransformations"]
        assert shift["translation"][1] + 0.5 * (n - 1) * scale["scale"][1] == pytest.approx(0)


def test_ome_zarr_of_maps(export, measured):
    path = export("raster", "ome-zarr")
    ImageModel.from_zarr(zarr.open_group(path, mode="r"))
    (image,) = Reader(parse_url(path))()
    assert image.metadata["channel_names"][0] == "7Li (7.0160 u)"
    counts, _ = read_counts(measured.raster, "sector_counts", measured.data)
    np.testing.assert_array_equal(image.data[0].compute(), counts)


def test_raw_with_headers(export, measured):
    folder = export("tomogram", "raw")
    header = dict(line.split(": ", 1) for line in (folder / "volume.nhdr").read_text().splitlines() if ": " in line)
    sizes = [int(n) for n in header["sizes"].split()]
    assert (header["type"], header["endian"], header["data file"]) == ("float", "little", "volume.raw")
    assert header["spacings"] == "0.4 0.4 0.4"
    read = np.fromfile(folder / header["data file"], "<f4").reshape(sizes[::-1])
    np.testing.assert_array_equal(read, measured.volume)
    script = (folder / "volume.hx").read_text()
    assert "load -unit um -raw ${SCRIPTDIR}/volume.raw little xfastest float 1 24 260 20 -4.6 4.6 -51.8 51.8" in script


def test_gif_shows_each_slice_of_the_volume(export):
    with Image.open(export("tomogram", "gif")) as movie:
        assert movie.n_frames == VOLUME_SHAPE[0]
        assert movie.size == (24, 260)
        assert b"voxel" in movie.info["comment"] or b"pixel_um: 0.4" in movie.info["comment"]
    with Image.open(export("image", "gif")) as picture:
        assert picture.size == (32, 24)


def test_csv_tables(export, measured):
    folder = export("tomogram", "csv")
    assert {path.name for path in folder.iterdir()} == {"rois-defects.csv", "drift.csv", "frames.csv"}
    defects = pandas.read_csv(folder / "rois-defects.csv", comment="#")
    assert defects.loc[0, ["centre_um_x", "centre_um_y", "centre_um_z"]].tolist() == [0.1, 0.2, 0.3]
    assert pandas.read_csv(folder / "drift.csv", comment="#")["row_px"].tolist() == [1.0] * 9
    frames = pandas.read_csv(folder / "frames.csv", comment="#")
    angles = frames[frames.stream == "primary"].rotation_angle_deg
    assert sorted(angles) == (40.0 * np.arange(9)).tolist()
    assert measured.tomogram in (folder / "drift.csv").read_text()
