from __future__ import annotations

import json
import os
import resource
import uuid

import numpy as np
import pytest
from event_model import compose_run

from xrm_sims.data.journal import (
    Journal,
    close_interrupted,
    follow_journal,
    interrupted_runs,
    journal_path,
    journal_paths,
    read_journal,
    read_starts,
)

KEYS = {"a": {"source": "test", "dtype": "number", "shape": []}}


def begin(journal, **metadata):
    run = compose_run(metadata=metadata)
    journal("start", run.start_doc)
    stream = run.compose_descriptor(name="primary", data_keys=KEYS)
    journal("descriptor", stream.descriptor_doc)
    return run, stream


def add(journal, stream, value):
    journal("event", stream.compose_event(data={"a": value}, timestamps={"a": 0.0}, validate=False))


def test_what_is_read_back_is_what_was_emitted(tmp_path):
    journal = Journal(tmp_path)
    run, stream = begin(journal, sample_name="cathode_pillar", shape=np.array([3, 4]), dose=np.float32(0.5))
    add(journal, stream, np.float64(1.25))
    add(journal, stream, np.nan)
    journal("stop", run.compose_stop())
    documents = list(read_journal(journal_path(tmp_path, run.start_doc["uid"])))
    assert [name for name, _ in documents] == ["start", "descriptor", "event", "event", "stop"]
    assert documents[0][1]["shape"] == [3, 4]
    assert documents[0][1]["dose"] == 0.5
    assert documents[2][1]["data"] == {"a": 1.25}
    assert np.isnan(documents[3][1]["data"]["a"])


def test_interleaved_runs_keep_to_their_files(tmp_path):
    journal = Journal(tmp_path)
    runs = [begin(journal) for _ in range(2)]
    for value in range(4):
        add(journal, runs[value % 2][1], value)
    assert journal.open_runs == {run.start_doc["uid"] for run, _ in runs}
    for run, _ in runs:
        journal("stop", run.compose_stop())
    for parity, (run, _) in enumerate(runs):
        values = [
            doc["data"]["a"]
            for name, doc in read_journal(tmp_path / f"{run.start_doc['uid']}.jsonl")
            if name == "event"
        ]
        assert values == [parity, parity + 2]
    assert not journal.open_runs


@pytest.mark.parametrize("torn", [b'{"name":"event","doc":{"uid', b'{"name":"stop","doc":{}}'])
def test_a_torn_last_line_is_left_out_and_the_run_closed(tmp_path, torn):
    journal = Journal(tmp_path)
    run, stream = begin(journal)
    add(journal, stream, 1.0)
    add(journal, stream, 2.0)
    journal.close()
    path = journal_path(tmp_path, run.start_doc["uid"])
    with open(path, "ab") as file:
        file.write(torn)
    assert len(list(read_journal(path))) == 4
    assert interrupted_runs(tmp_path) == [path]
    close_interrupted(path)
    assert interrupted_runs(tmp_path) == []
    name, stop = list(read_journal(path))[-1]
    assert name == "stop"
    assert (stop["exit_status"], stop["reason"], stop["num_events"]) == ("fail", "interrupted", {"primary": 2})


def test_a_journal_torn_in_its_first_line_is_no_run(tmp_path):
    (tmp_path / f"{uuid.uuid4()}.jsonl").write_bytes(b'{"name":"start","doc')
    assert interrupted_runs(tmp_path) == []


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        json.dumps({"name": "start", "doc": {}}) + "\nrubbish\n" + json.dumps({"name": "stop", "doc": {}}) + "\n"
    )
    with pytest.raises(ValueError, match="line 2 is not a document"):
        list(read_journal(path))


def test_a_missing_journal_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.jsonl: cannot be read"):
        list(read_journal(tmp_path / "gone.jsonl"))


def test_a_document_the_disk_refuses_ends_in_one_sentence(tmp_path):
    """The operating system's limit on the size of a file stands for the full disk."""
    journal = Journal(tmp_path)
    _, stream = begin(journal)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(RuntimeError, match="the event document could not be written"):
            add(journal, stream, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_documents_of_a_run_that_never_began_are_refused(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="has not begun or has ended"):
        journal("stop", {"uid": "b", "run_start": "a", "time": 0.0, "exit_status": "success"})


def test_a_follower_hears_what_is_new_until_the_run_stops(tmp_path):
    journal = Journal(tmp_path)
    run, stream = begin(journal)
    path = journal_path(tmp_path, run.start_doc["uid"])
    news = follow_journal(path)
    assert [name for name, _ in next(news)] == ["start", "descriptor"]
    assert next(news) == []
    add(journal, stream, 1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])  # half a line is on disk
    assert next(news) == []
    path.write_bytes(whole)
    assert [doc["data"] for _, doc in next(news)] == [{"a": 1.0}]
    stopped = run.compose_stop()
    with open(path, "ab") as file:
        file.write(json.dumps({"name": "stop", "doc": stopped}).encode() + b"\n")
    assert [list(map(list, documents)) for documents in news] == [[["stop", stopped]]]


def test_a_follower_names_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match=r"journal .*gone\.jsonl: cannot be read"):
        next(follow_journal(tmp_path / "gone.jsonl"))
    (tmp_path / "odd.jsonl").write_text("not a document\n")
    with pytest.raises(ValueError, match=r"odd\.jsonl: a line before byte 15 is not a document"):
        next(follow_journal(tmp_path / "odd.jsonl"))


def test_the_newest_run_is_the_one_that_started_last_whatever_the_files_times(tmp_path):
    journal, times = Journal(tmp_path), [30.0, 10.0, 20.0]
    paths = []
    for time in times:
        run = compose_run(metadata={}, time=time)
        journal("start", run.start_doc)
        paths.append(journal_path(tmp_path, run.start_doc["uid"]))
    expected = [paths[1], paths[2], paths[0]]
    for touched in (paths, paths[::-1], expected):
        for when, path in enumerate(touched):
            os.utime(path, (when, when))
        assert journal_paths(tmp_path) == interrupted_runs(tmp_path) == list(read_starts(tmp_path)) == expected


def test_a_file_without_a_start_document_is_never_the_newest_run(tmp_path):
    journal = Journal(tmp_path)
    run, _ = begin(journal)
    for content in (b"", b'{"name":"start","doc', b"rubbish\n"):
        (tmp_path / f"{uuid.uuid4()}.jsonl").write_bytes(content)
    assert journal_paths(tmp_path)[-1] == journal_path(tmp_path, run.start_doc["uid"])
