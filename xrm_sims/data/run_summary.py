"""The documents of one run, sorted by kind and stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from event_model import DocumentRouter

Document = tuple[str, Mapping[str, Any]]
FramePlace = tuple[int, dict[str, Any], int]  # seq_num, stream resource, index in its file


class RunSummary(DocumentRouter):
    """Collects the documents of one run; call it with each ``(name, doc)``. Event pages are taken apart.

    Parameters
    ----------
    documents : collected at once; more may follow.
    keep_events : False for a callback of the RunEngine, whose memory must not grow with the number of events.

    Attributes
    ----------
    start_doc, stop_doc : empty before these documents arrive.
    descriptors, resources : event descriptors and stream resources by uid.
    events, datums : events and stream datums in the order of their arrival.
    counts : the largest ``seq_num`` of each stream. A point that was taken again keeps its number.
    """

    def __init__(self, documents: Iterable[Document] = (), *, keep_events: bool = True) -> None:
        super().__init__()
        self.start_doc: dict[str, Any] = {}
        self.stop_doc: dict[str, Any] = {}
        self.descriptors: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.datums: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._keep_events = keep_events
        for name, doc in documents:
            self(name, doc)  # type: ignore[arg-type]

    @property
    def kind(self) -> str:
        """Scan type of the run, else the name of its plan."""
        return str(self.start_doc.get("scan_type", self.start_doc.get("plan_name", "run")))

    def stream_of(self, doc: Mapping[str, Any]) -> str:
        """Name of the stream of an event or a stream datum; "" for an unknown descriptor."""
        descriptor = self.descriptors.get(doc["descriptor"])
        return "" if descriptor is None else str(descriptor.get("name", "primary"))

    def events_of(self, *streams: str) -> list[dict[str, Any]]:
        """Events of these streams in the order of their arrival."""
        return [event for event in self.events if self.stream_of(event) in streams]

    def datums_of(self, stream: str, key: str | None = None) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Each stream datum of a stream (and of an external key) with its stream resource."""
        for datum in self.datums:
            resource = self.resources.get(datum["stream_resource"])
            if resource is not None and self.stream_of(datum) == stream and key in (None, resource.get("data_key")):
                yield datum, resource

    def frame_places(self, stream: str, key: str | None = None) -> Iterator[FramePlace]:
        """Where each frame of a stream (and of an external key) lies."""
        for datum, resource in self.datums_of(stream, key):
            first, first_seq_num = datum["indices"]["start"], datum["seq_nums"]["start"]
            for n in range(datum["indices"]["stop"] - first):
                yield first_seq_num + n, resource, first + n

    def start(self, doc: Any) -> None:
        self.start_doc = doc

    def stop(self, doc: Any) -> None:
        self.stop_doc = doc

    def descriptor(self, doc: Any) -> None:
        self.descriptors[doc["uid"]] = doc

    def event(self, doc: Any) -> Any:
        self._count(doc, doc["seq_num"])
        if self._keep_events:
            self.events.append(doc)
        return doc

    def stream_resource(self, doc: Any) -> None:
        self.resources[doc["uid"]] = doc

    def stream_datum(self, doc: Any) -> None:
        self._count(doc, doc["seq_nums"]["stop"] - 1)
        self.datums.append(doc)

    def _count(self, doc: Mapping[str, Any], seq_num: int) -> None:
        stream = self.stream_of(doc)
        self.counts[stream] = max(self.counts[stream], int(seq_num))
