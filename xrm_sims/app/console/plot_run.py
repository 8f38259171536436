"""Any run as one picture: its last image, the points of a scan, the dose of a milling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.figure import Figure

from xrm_sims.app.common.last_frame import Document, LastFrame, figure_of
from xrm_sims.correlate.figures.drawing import new_figure, save
from xrm_sims.scan_type import ScanType

_AGAINST: dict[str, str] = {ScanType.MILLING: "instrument_time_s", ScanType.DEPOSITION: "instrument_time_s"}


def figure_of_run(documents: Iterable[Document]) -> Figure:
    """ValueError for a run that has neither images nor numbers."""
    kept = list(documents)
    frame = LastFrame(kept, only="primary")
    if (glance := frame.look()) is not None:
        return figure_of(glance)
    return _curves(frame.start, kept)


def _curves(start: Mapping[str, Any], documents: list[Document]) -> Figure:
    """Every number that a scan read, over the motor that it moved."""
    streams: dict[str, str] = {}
    numbers: dict[str, list[float]] = defaultdict(list)
    for name, doc in documents:
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event" and streams[doc["descriptor"]] == "primary":
            numbers["seq_num"].append(doc["seq_num"])
            for key, value in doc["data"].items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    numbers[key].append(float(value))
    against = _AGAINST.get(str(start.get("scan_type")), next(iter(start.get("motors") or []), "seq_num"))
    against = against if against in numbers else "seq_num"
    curves = {key: values for key, values in numbers.items() if key not in (against, "seq_num")}
    if not curves:
        raise ValueError(f"run {start.get('uid', '?')}: has neither images nor numbers to draw")
    figure = new_figure(6.4, 1.2 + 1.8 * len(curves))
    for axes, (key, values) in zip(figure.subplots(len(curves), 1, squeeze=False)[:, 0], curves.items(), strict=True):
        axes.plot(numbers[against][: len(values)], values, ".-", lw=0.8)
        axes.set(ylabel=key)
    axes.set(xlabel=against)
    figure.suptitle(f"{start.get('scan_type', start.get('plan_name', 'run'))} {start['uid'][:8]}", fontsize=9)
    return figure


def show(figure: Figure, path: Path) -> Path:
    """Keep the picture as a file; where matplotlib has windows to open, open one, too."""
    kept = save(figure, path)
    if pyplot.get_backend().lower() in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        pyplot.figure(num=path.stem, clear=True)
        pyplot.imshow(pyplot.imread(kept))
        pyplot.axis("off")
        pyplot.show(block=False)
    return kept
