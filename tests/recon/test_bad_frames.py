"""Unusable frames of a scan are named by their angle in a warning and left out, in finished and in live scans."""

import re

import numpy as np
import pytest

import recon
from benchmarks.recon_phantom import rms_error
from recon.live.run_follower import RunFollower
from tests.recon.test_documents import HEIGHT, VIEWS, WIDTH, Scan

ANGLES = np.arange(VIEWS) * 6.0
QUICK = {"correct": False, "sweeps": 1, "tv": 0.0, "beam_hardening": False}


def beam_off(frames, current):
    frames["primary"][10:13] = 2


def beam_off_and_recorded(frames, current):
    beam_off(frames, current)
    current[10:13] = 0


def beam_flares_up(frames, current):
    frames["primary"][20] = frames["primary"][20] * 2


def frame_repeated(frames, current):
    frames["primary"][31] = frames["primary"][30]


def counters_full(frames, current):
    frames["primary"][40, 2:8, 10:20] = 2**24 - 1


def flats_without_beam(frames, current):
    frames["flat"][4:6] = 2


def finished(documents):
    return recon.from_run(documents, **QUICK)


def live(documents):
    """Reconstruct as a live run does when all documents arrive at once."""
    follower = RunFollower(documents[0][1], correct=False, tv=0.0, beam_hardening=False)
    for name, doc in documents[1:]:
        follower.arrivals(name, doc)
    return follower.finish()


@pytest.mark.parametrize(
    ("spoil", "says", "left_out"),
    [
        (beam_off, "projections at 60, 66, 72 deg left out: hardly any counts, was the beam off", [60, 66, 72]),
        (beam_off_and_recorded, "no beam current at 60, 66, 72 deg; taken from the frames before", [60, 66, 72]),
        (beam_flares_up, "projection at 120 deg left out: much darker or brighter than the views beside", [120]),
        (frame_repeated, "projection at 186 deg left out: the same frame as an earlier view", [186]),
        (counters_full, "60 readings at the end of the counter in the projection at 240 deg; these are not", []),
        (flats_without_beam, "flats: frames 4, 5 of 20 are not as bright as the others", []),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("reconstruct", [finished, live])
def test_unusable_frames_are_named_and_do_little_harm(tmp_path, reconstruct, spoil, says, left_out):
    clean, bad = tmp_path / "clean", tmp_path / "bad"
    for folder in (clean, bad):
        folder.mkdir()
    scan = Scan(clean, ANGLES)
    with pytest.warns(UserWarning, match=re.escape(says)):
        made = reconstruct(Scan(bad, ANGLES, spoil=spoil).documents)
    assert sorted(set(ANGLES) - set(made.geometry.angles_deg)) == left_out
    usual = rms_error(reconstruct(scan.documents).volume, scan.truth)
    assert rms_error(made.volume, scan.truth) < 1.1 * usual


def test_a_scan_without_a_beam_is_refused(tmp_path):
    def dark(frames, current):
        frames["primary"][:] = 0

    with pytest.raises(ValueError, match="most projections hold no counts"):
        recon.from_run(Scan(tmp_path, ANGLES, spoil=dark).documents, **QUICK)


def test_flats_of_zeros_are_refused(tmp_path):
    def dark(frames, current):
        frames["flat"][:] = 0

    with pytest.raises(ValueError, match=r"run .*: flats: 1152 of 1152 pixels counted nothing above the darks"):
        recon.from_run(Scan(tmp_path, ANGLES, spoil=dark).documents, **QUICK)


def test_a_geometry_in_other_units_or_of_another_detector_is_refused(tmp_path):
    documents = Scan(tmp_path, ANGLES).documents
    start = documents[0][1]
    for change, says in (
        ({"pixel_mm": start["geometry"]["pixel_mm"] * 1e3}, "pixel_mm: .* was it given in micrometres"),
        ({"voxel_um": 1e-3}, "voxel_um: a voxel of 0.001 um against a detector pixel of 1 um"),
        ({"detector_shape": [2 * HEIGHT, 2 * WIDTH]}, r"frames of \(24, 48\) pixels, its geometry says \(48, 96\)"),
    ):
        told = start | {"geometry": start["geometry"] | change}
        with pytest.raises(ValueError, match=f"run {start['uid']}: {says}"):
            recon.from_run([("start", told), *documents[1:]], **QUICK)
