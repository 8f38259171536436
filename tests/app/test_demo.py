"""The demo from end to end, with a third of its views, held against the twin's truth."""

import json

import numpy as np
import pytest

from xrm_sims.app.cli.demo import run_demo
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.data import find_run, open_experiment, results
from xrm_sims.geometry import apply_affine
from xrm_sims.twin import Microscope

TOMOGRAPHY = {"num": 400, "step_deg": 0.9, "exposure_s": 90.0, "binning": 4}
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    run_demo(folder, seed=6, tomography=TOMOGRAPHY)
    return folder


@pytest.fixture(scope="module")
def summary(out):
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def truth(out, summary):
    with Microscope(out / "data" / "twin") as twin:
        yield twin.truth()


def test_pictures_and_summary_are_there(out, summary):
    for name in ("overlay.png", "slices.png", "registration.png", "drift.png", "phases.png"):
        assert name in summary["pictures"]
        assert (out / name).read_bytes().startswith(PNG)
    assert set(summary["counts"]) == {"7Li", "27Al", "58Ni", "59Co"}
    assert {"tomography", "se_before", "milling", "se_after", "sims"} <= set(summary["run_uids"])  # and further steps
    assert set(summary["run_uids"]) < set(summary["seconds"])


def test_the_chosen_defect_is_one(summary, truth):
    """Its centre lies within a crack's or pore's own reach, a voxel allowed."""
    centre = np.array(summary["defect_centre_um"])
    pores, cracks = truth.specimen.pores, truth.specimen.cracks
    to_pores = np.linalg.norm(pores["centre_um"] - centre, axis=1) - 0.5 * pores["diameter_um"]
    to_cracks = np.linalg.norm(cracks["centre_um"] - centre, axis=1) - 0.5 * cracks["length_um"]
    assert min(to_pores.min(), to_cracks.min()) < summary["voxel_um"]


def test_the_map_lies_where_the_record_says(out, summary, truth):
    """Four corners of the field through the recorded and the true affine; drift during the map is included."""
    pixels = np.array([[0, 0], [511, 0], [0, 511], [511, 511]], float)
    start = find_run(summary["run_uids"]["sims"], out / "data").metadata["start"]
    scan = (pixels - 255.5) * start["fov_um"] / 512 + start["centre_um"]
    true = apply_affine(truth.scan_to_specimen, scan)
    recorded = apply_affine(summary["sims_to_specimen"], pixels)
    rms_nm = 1e3 * np.sqrt(((true - recorded) ** 2).sum(axis=1).mean())
    assert rms_nm < 2 * summary["sigma_nm"] < 200.0


def test_the_milled_plane_is_near_the_defect(summary, truth):
    """It is looked at after each step of milling."""
    around = np.stack(np.meshgrid(*[np.linspace(-5, 5, 21)] * 2), axis=-1).reshape(-1, 2)
    height = truth.surface.height_at(around + summary["defect_centre_um"][:2])
    assert np.median(height) == pytest.approx(summary["defect_centre_um"][2], abs=0.2)


def test_everything_belongs_together_in_the_catalogue(out, summary):
    experiment = open_experiment(summary["experiment_uid"], out / "data")
    assert [run.metadata["start"]["uid"] for run in experiment.runs] == list(summary["run_uids"].values())
    volume = experiment.result("volume")
    assert volume["volume"].shape == (64, 320, 320)
    kept = results.load(out / "data", summary["run_uids"]["sims"], "registration").metadata
    np.testing.assert_allclose(kept["sims_to_specimen"], summary["sims_to_specimen"])
    assert set(Registration.__dataclass_fields__) <= set(kept)
