import subprocess
import sys

import numpy as np
import pytest

from xrm_sims.twin import store as store_module
from xrm_sims.twin.store import InstrumentInUse, State, Store

HOLD = """
import sys
from xrm_sims.twin.store import Store
store = Store(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path until it is killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def a_state():
    return State(
        seed=3,
        sample="cathode_pillar",
        wall_s=1.7e9 + 0.123456789,
        time_s=0.1 + 0.2,
        values={"beam": {"current_na": 1 / 3, "blanked": True}, "target": {"material": "Cu"}},
        counters={"exposure": 12},
        scanning=["fib", "mill_pass", {"kind": "rectangle"}],
    )


def test_a_state_comes_back_exactly(tmp_path):
    with_store(tmp_path, lambda store: store.save(a_state()))
    assert with_store(tmp_path, Store.load) == a_state()


def test_nothing_stored_is_none(tmp_path):
    assert with_store(tmp_path, Store.load) is None


def test_state_and_surface_agree_whatever_write_fails(tmp_path, monkeypatch):
    """A crash before the state is renamed leaves the old state with the old surface, both readable."""
    state = a_state()
    store = Store(tmp_path)
    store.save_surface(state, {"heights_um": np.zeros((4, 4), np.float32)})

    def crash(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_replace", crash)
        with pytest.raises(OSError, match="No space left"):
            store.save_surface(a_state(), {"heights_um": np.ones((4, 4), np.float32)})
    store.close()

    reopened = Store(tmp_path)
    kept = reopened.load()
    assert kept == state
    np.testing.assert_array_equal(reopened.load_surface(kept)["heights_um"], 0.0)
    # and the next write is not disturbed by what the crash left behind
    reopened.save_surface(kept, {"heights_um": np.full((4, 4), 2.0, np.float32)})
    np.testing.assert_array_equal(reopened.load_surface(reopened.load())["heights_um"], 2.0)
    assert len(list(tmp_path.glob("surface-*"))) == 1
    reopened.close()


def test_a_state_file_that_is_none_is_named(tmp_path):
    (tmp_path / "state.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"state file .*state\.json: not readable .* move it away"):
        with_store(tmp_path, Store.load)


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(ValueError, match=r"instrument .*root: its folder cannot be used"):
        Store(tmp_path / "root")


def test_a_second_process_is_told_who_holds_the_instrument(tmp_path, holder):
    with pytest.raises(InstrumentInUse, match=rf"held by \S+, pid {holder.pid} on \S+ since 20\d\d-"):
        Store(tmp_path)


def test_a_killed_holder_does_not_block(tmp_path, holder):
    holder.kill()
    holder.wait()
    Store(tmp_path).close()


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    first = Store(tmp_path)
    with pytest.raises(InstrumentInUse):
        Store(tmp_path)
    first.close()
    first.close()
    Store(tmp_path).close()


def with_store(root, do):
    store = Store(root)
    try:
        return do(store)
    finally:
        store.close()
