from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from xrm_sims.data.frames import FrameWriter, read_block, read_frames

SHAPE = (16, 20)
DATASET = "/entry/data/data"


def frame_of(index: int) -> np.ndarray:
    return np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint32).reshape(SHAPE) + 1000 * index


def resource_of(writer: FrameWriter) -> dict:
    return {"uri": writer.uri, "parameters": writer.parameters, "data_key": "image"}


def datum(start: int, stop: int, seq_num: int = 1) -> dict:
    return {
        "indices": {"start": start, "stop": stop},
        "seq_nums": {"start": seq_num, "stop": seq_num + stop - start},
    }


@pytest.fixture
def writer(tmp_path: Path):
    with FrameWriter(tmp_path / "a b.h5", DATASET, SHAPE, np.uint32, {"units": "counts"}) as writer:
        yield writer


def test_frames_are_readable_as_they_are_appended(writer):
    for index in range(3):
        assert writer.append(frame_of(index)) == index
        np.testing.assert_array_equal(read_block(resource_of(writer), index, index + 1), frame_of(index)[None])


def test_plain_h5py_reads_a_closed_file_in_frame_chunks(writer):
    for index in range(3):
        writer.append(frame_of(index))
    writer.close()
    with h5py.File(writer.path) as file:
        assert file[DATASET].chunks == (1, *SHAPE)
        assert file[DATASET].attrs["units"] == "counts"
        np.testing.assert_array_equal(file[DATASET], [frame_of(index) for index in range(3)])


def test_read_frames_gives_sequence_numbers_in_blocks(writer):
    for index in range(7):
        writer.append(frame_of(index))
    blocks = list(read_frames(resource_of(writer), [datum(0, 5), datum(6, 7, seq_num=6)], block=3))
    assert [seq_nums.tolist() for seq_nums, _ in blocks] == [[1, 2, 3], [4, 5], [6]]
    expected = [frame_of(index) for index in (0, 1, 2, 3, 4, 6)]
    np.testing.assert_array_equal(np.concatenate([frames for _, frames in blocks]), expected)


def test_frames_beyond_the_end_are_named(writer):
    writer.append(frame_of(0))
    with pytest.raises(ValueError, match=r"a b\.h5 ends after 1 frames: frames 1 to 4 missing"):
        read_block(resource_of(writer), 0, 5)


def test_a_missing_file_is_named(writer):
    writer.close()
    writer.path.unlink()
    with pytest.raises(ValueError, match=r"a b\.h5 is missing: frame 3 cannot be read"):
        read_block(resource_of(writer), 3, 4)


@pytest.mark.parametrize("left", [0.0, 0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused_with_the_frames_at_once(writer, left):
    for index in range(20):
        writer.append(frame_of(index))
    writer.close()
    os.truncate(writer.path, int(writer.path.stat().st_size * left))
    with pytest.raises(ValueError, match=r"a b\.h5 is truncated .*: frames 2 to 3 cannot be read"):
        read_block(resource_of(writer), 2, 4)


def test_a_file_that_is_no_hdf5_or_lacks_the_dataset_is_refused(writer):
    writer.append(frame_of(0))
    nowhere = resource_of(writer) | {"parameters": {"dataset": "/nowhere"}}
    with pytest.raises(ValueError, match="frame 0 cannot be read"):
        read_block(nowhere, 0, 1)
    writer.close()
    writer.path.write_bytes(b"x" * 5000)
    with pytest.raises(ValueError, match="frame 0 cannot be read"):
        read_block(resource_of(writer), 0, 1)


def test_a_frame_of_another_shape_is_refused_and_nothing_written(writer):
    with pytest.raises(ValueError, match=r"needs frames of shape \(16, 20\), got \(20, 16\)"):
        writer.append(np.zeros((20, 16)))
    assert writer.append(frame_of(0)) == 0


def test_an_existing_file_is_never_overwritten(writer):
    writer.append(frame_of(0))
    with pytest.raises(RuntimeError, match=r"a b\.h5: cannot be made"):
        FrameWriter(writer.path, DATASET, SHAPE, np.uint32)


def append_on(writer, frame):
    while True:
        writer.append(frame)


def test_a_full_disk_is_said_and_the_file_stays_whole(tmp_path):
    """The operating system's limit on the size of a file stands for the full disk."""
    frame = np.ones((256, 256))
    writer = FrameWriter(tmp_path / "full.h5", DATASET, frame.shape, np.uint32)
    writer.append(frame)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (writer.path.stat().st_size + 1000, hard))
    try:
        with pytest.raises(RuntimeError, match=r"full\.h5: no room for frame \d+ \(File too large\); free space"):
            append_on(writer, frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    taken = writer.count
    assert taken > 1
    assert writer.append(2 * frame) == taken
    writer.close()
    with h5py.File(writer.path) as file:
        np.testing.assert_array_equal(file[DATASET][-2:], [frame, 2 * frame])


def test_a_full_disk_at_the_end_still_leaves_a_whole_file(tmp_path):
    frame = np.ones((256, 256))
    writer = FrameWriter(tmp_path / "full.h5", DATASET, frame.shape, np.uint32)
    writer.append(frame)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (writer.path.stat().st_size, hard))
    try:
        with pytest.raises(RuntimeError, match="no room for frame"):
            append_on(writer, frame)
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with h5py.File(writer.path) as file:
        np.testing.assert_array_equal(file[DATASET], [frame] * writer.count)
    assert writer.path.stat().st_size < (writer.count + 1) * frame.size * 4


def test_a_killed_writer_loses_no_frame(tmp_path):
    path = tmp_path / "killed.h5"
    script = f"""
import os, signal, numpy as np
from xrm_sims.data.frames import FrameWriter
writer = FrameWriter({str(path)!r}, {DATASET!r}, {SHAPE}, np.uint32)
for index in range(9):
    writer.append(np.full({SHAPE}, index))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    killed = {"uri": f"file://localhost{path}", "parameters": {"dataset": DATASET}}
    np.testing.assert_array_equal(read_block(killed, 0, 9)[:, 0, 0], np.arange(9))
