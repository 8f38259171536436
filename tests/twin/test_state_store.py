import copy
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xrm_sims.twin.state_store import InstrumentInUse, State, StateStore
from xrm_sims.twin.two_slot_file import SLOT_BYTES, TwoSlotFile

HOLD = """
import sys
from xrm_sims.twin.state_store import StateStore
store = StateStore(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that locks tmp_path until it is killed."""
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
    assert with_store(tmp_path, StateStore.load) == a_state()


def test_nothing_stored_is_none(tmp_path):
    assert with_store(tmp_path, StateStore.load) is None


def test_state_and_surface_agree_whatever_write_fails(tmp_path, monkeypatch):
    """After a crash before the state is written, the old state and the old surface are readable."""
    state = a_state()
    store = StateStore(tmp_path)
    store.save_surface(state, {"heights_um": np.zeros((4, 4), np.float32)})
    later = copy.deepcopy(state)

    def crash(record, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TwoSlotFile, "write", crash)
        with pytest.raises(OSError, match="No space left"):
            store.save_surface(later, {"heights_um": np.ones((4, 4), np.float32)})
    store.close()

    reopened = StateStore(tmp_path)
    kept = reopened.load()
    assert kept == state
    np.testing.assert_array_equal(reopened.load_surface(kept)["heights_um"], 0.0)
    # and the next write is not disturbed by what the crash left behind
    reopened.save_surface(kept, {"heights_um": np.full((4, 4), 2.0, np.float32)})
    np.testing.assert_array_equal(reopened.load_surface(reopened.load())["heights_um"], 2.0)
    assert len(list(tmp_path.glob("surface-*"))) == 2
    reopened.close()


def test_a_damaged_state_is_named(tmp_path):
    with_store(tmp_path, lambda store: store.save(a_state()))
    (tmp_path / "state").write_bytes(b"x" * (tmp_path / "state").stat().st_size)
    with pytest.raises(ValueError, match=r"state file .*state: damaged; move it away"):
        with_store(tmp_path, StateStore.load)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=2, max_size=5), st.integers(0, 300), st.binary(max_size=40))
def test_a_write_cut_short_or_scrambled_leaves_the_record_before(tmp_path_factory, contents, cut, noise):
    """If the last write is damaged, the previous content is read."""
    path = tmp_path_factory.mktemp("record") / "state"
    record = TwoSlotFile(path)
    for content in contents:
        record.write(content)
    record.close()
    with open(path, "r+b") as file:
        file.seek(len(contents) % 2 * SLOT_BYTES)
        entry = file.read(SLOT_BYTES)
        whole = entry[: entry.index(b"\n") + 1 + len(contents[-1])]
        torn = (entry[: min(cut, len(whole) - 1)] + noise).ljust(SLOT_BYTES, b"\0")
        assume(not torn.startswith(whole))
        file.seek(len(contents) % 2 * SLOT_BYTES)
        file.write(torn)
    reopened = TwoSlotFile(path)
    assert reopened.read() == contents[-2]
    reopened.write(b"next")
    assert reopened.read() == b"next"
    reopened.close()


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(ValueError, match=r"instrument .*root: its folder cannot be used"):
        StateStore(tmp_path / "root")


def test_a_second_process_is_told_who_holds_the_instrument(tmp_path, holder):
    with pytest.raises(InstrumentInUse, match=rf"held by \S+, pid {holder.pid} on \S+ since 20\d\d-"):
        StateStore(tmp_path)


def test_a_killed_holder_does_not_block(tmp_path, holder):
    holder.kill()
    holder.wait()
    StateStore(tmp_path).close()


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    first = StateStore(tmp_path)
    with pytest.raises(InstrumentInUse):
        StateStore(tmp_path)
    first.close()
    first.close()
    StateStore(tmp_path).close()


def with_store(root, do):
    store = StateStore(root)
    try:
        return do(store)
    finally:
        store.close()


def test_a_deposit_that_was_milled_away_does_not_come_back(tmp_path):
    state, store = a_state(), StateStore(tmp_path)
    heights = {"heights_um": np.zeros((4, 4), np.float32)}
    for arrays in (heights | {"deposit_um": np.ones((4, 4), np.float32)}, heights):
        store.save_surface(state, arrays)
        assert store.load_surface(state).keys() == arrays.keys()
    store.close()
