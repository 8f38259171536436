"""What the commands reconstruct and resolution print, draw and keep, on one short tomogram."""

import numpy as np
import pytest

import plans
from tests.app.conftest import own_lines
from xrm_sims.app.session.session import open_session
from xrm_sims.data import results

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def measured(shared_data):
    with open_session(shared_data, seed=1) as session:
        uid = session.run(plans.tomography(session.scope, num=36, step_deg=10, binning=8, num_dark=1, num_flat=2))
    return shared_data, uid


def test_resolution_corrects_measures_and_keeps(measured, command, tmp_path):
    data, uid = measured
    ended = command("resolution", uid[:8], "--out", tmp_path, "--data", data)
    assert ended.code == 0, ended.err
    assert "edge: " in ended.out
    assert "halves: even and odd views agree" in ended.out
    assert "even views" in ended.err
    assert (tmp_path / "resolution.png").read_bytes().startswith(PNG)
    kept = results.load(data, uid, "resolution")
    shells = len(kept.arrays["frequency_per_um"])
    assert len(kept.arrays["correlation"]) == len(kept.arrays["half_bit"]) == shells
    assert kept.arrays["correlation"][0] > 0.5  # 18 views in each half are few
    assert kept.metadata["voxel_um"] == pytest.approx(0.4)
    drift = results.load(data, uid, "drift")
    again = command("resolution", uid[:8], "--data", data)
    assert "alignment" not in again.err  # the correction that was kept is used
    assert again.out.splitlines()[:2] == ended.out.splitlines()[:2]
    np.testing.assert_array_equal(results.load(data, uid, "drift").arrays["times_s"], drift.arrays["times_s"])


def test_reconstruct_draws_and_keeps_volume_and_drift(measured, command, tmp_path):
    data, uid = measured
    ended = command("reconstruct", uid[:8], "--voxel-um", "0.8", "--tv", "0", "--out", tmp_path, "--data", data)
    assert ended.code == 0, ended.err
    for name in ("slices.png", "drift.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
    volume = results.load(data, uid, "volume")
    assert volume.arrays["volume"].shape == (16, 80, 80)
    assert volume.metadata["voxel_um"] == 0.8
    drift = results.load(data, uid, "drift")
    views = volume.metadata["geometry"]["angles_deg"]
    assert drift.arrays["view_shifts_px"].shape == (len(views), 2)
    assert drift.arrays["times_s"].shape == drift.arrays["angles_deg"].shape == (len(views),)
    assert (np.diff(drift.arrays["times_s"]) > 0).all()
    assert {"axis_offset_um", "detector_roll_deg"} <= set(drift.metadata)


def test_without_correction_there_is_no_drift_to_draw(measured, command, tmp_path):
    data, uid = measured
    ended = command("reconstruct", uid[:8], "--no-correct", "--sweeps", "1", "--out", tmp_path, "--data", data)
    assert ended.code == 0, ended.err
    assert not (tmp_path / "drift.png").exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["resolution", "deadbeef"], "run 'deadbeef' is not in the catalogue"),
        (["reconstruct", "{uid}", "--voxel-um", "-1"], "voxel_um: needs a positive length, got -1"),
        (["reconstruct", "{uid}", "--tv", "-1"], "tv: needs a strength"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(measured, command, args, told):
    data, uid = measured
    ended = command(*(word.format(uid=uid[:8]) for word in args), "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert told in line
