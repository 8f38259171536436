from __future__ import annotations

from event_model import StreamRange, compose_run, compose_stream_resource, pack_event_page

from xrm_sims.data.run_summary import RunSummary

NUMBER = {"source": "test", "dtype": "number", "shape": []}
IMAGE = {"source": "test", "dtype": "array", "shape": [2, 2], "external": "STREAM:"}


def documents(paged=False):
    """Four points, the third of them taken twice; frames of two streams in one file each."""
    run = compose_run(metadata={"scan_type": "tomography"})
    yield "start", run.start_doc
    for stream, numbers in (("flat", [1]), ("primary", [1, 2, 3, 3, 4])):
        bundle = run.compose_descriptor(name=stream, data_keys={"angle": NUMBER, "image": IMAGE})
        yield "descriptor", bundle.descriptor_doc
        resource = compose_stream_resource(mimetype="", uri=f"file:///{stream}", data_key="image", parameters={})
        yield "stream_resource", resource.stream_resource_doc
        for n, number in enumerate(numbers):
            datum = resource.compose_stream_datum(
                StreamRange(start=n, stop=n + 1), StreamRange(start=number, stop=number + 1), bundle.descriptor_doc
            )
            yield "stream_datum", datum
            event = bundle.compose_event(
                data={"angle": float(n)}, timestamps={"angle": 0.0}, seq_num=number, validate=False
            )
            yield ("event_page", pack_event_page(event)) if paged else ("event", event)
    yield "stop", run.compose_stop()


def test_documents_are_found_by_stream_whether_events_come_singly_or_in_pages():
    for paged in (False, True):
        run = RunSummary(documents(paged))
        assert (run.kind, run.stop_doc["exit_status"]) == ("tomography", "success")
        assert run.counts == {"flat": 1, "primary": 4}
        assert [event["data"]["angle"] for event in run.events_of("primary")] == [0, 1, 2, 3, 4]
        assert len(run.events_of("flat", "primary")) == 6
        assert [(number, n) for number, _, n in run.frame_places("primary", "image")] == [
            (1, 0),
            (2, 1),
            (3, 2),
            (3, 3),
            (4, 4),
        ]
        assert {file["uri"] for _, file, _ in run.frame_places("flat")} == {"file:///flat"}
        assert not list(run.frame_places("primary", "another"))


def test_a_callback_that_keeps_no_events_still_counts_them():
    run = RunSummary(documents(), keep_events=False)
    assert run.counts == {"flat": 1, "primary": 4}
    assert not run.events
