import h5py
import numpy as np
import pytest

from xrm_sims.epics.file_plugin import FilePlugin
from xrm_sims.epics.names import DATASET


@pytest.fixture
def plugin():
    plugin = FilePlugin(lambda: (2, 3))
    yield plugin
    plugin.close()


def frame(value):
    return np.full((2, 3), value, np.uint32)


def test_only_written_frames_are_stored_in_the_named_file(plugin, tmp_path):
    plugin.path = str(tmp_path)
    for name in ("flat.h5", "primary.h5"):
        plugin.name = name
        plugin.capture(True)
    for value, name in ((1, "flat.h5"), (2, None), (3, "primary.h5"), (4, "flat.h5")):
        plugin.hold(frame(value))
        if name:
            plugin.name = name
            plugin.write()
    assert plugin.captured == 2
    plugin.capture(False)
    plugin.capture(False)
    with h5py.File(tmp_path / "flat.h5") as file:
        assert file[DATASET][:, 0, 0].tolist() == [1, 4]
    with h5py.File(tmp_path / "primary.h5", swmr=True) as file:  # still open here, and readable
        assert file[DATASET][:, 0, 0].tolist() == [3]


def test_writing_without_a_path_a_file_or_a_frame_is_refused(plugin, tmp_path):
    plugin.path, plugin.name = "here", "a.h5"
    with pytest.raises(ValueError, match=r"need an absolute path and a name, got 'here/a\.h5'"):
        plugin.capture(True)
    plugin.path = str(tmp_path)
    with pytest.raises(ValueError, match="is not being captured"):
        plugin.write()
    plugin.capture(True)
    with pytest.raises(ValueError, match="no frame is held"):
        plugin.write()
    plugin.path = str(tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match="cannot be made"):
        plugin.capture(True)
