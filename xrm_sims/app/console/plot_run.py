"""One figure of any run: its last image, the points of a scan, the dose of a milling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from matplotlib import pyplot
from matplotlib.backends.registry import BackendFilter, backend_registry
from matplotlib.figure import Figure

from xrm_sims.app.common.last_frame import LastFrame, figure_of
from xrm_sims.correlate.figures.drawing import new_figure, save
from xrm_sims.data.run_summary import Document, RunSummary
from xrm_sims.scan_type import ScanType

_X_AXES: dict[str, str] = {ScanType.MILLING: "instrument_time_s", ScanType.DEPOSITION: "instrument_time_s"}


def figure_of_run(documents: Iterable[Document]) -> Figure:
    """Return the figure of a run. Raises ValueError if the run has neither images nor numbers."""
    kept = list(documents)
    frame = LastFrame(kept, only="primary").read()
    return _curves(RunSummary(kept)) if frame is None else figure_of(frame)


def _curves(run: RunSummary) -> Figure:
    """Return curves of all numbers that a scan read, over its motor."""
    start = run.start_doc
    numbers: dict[str, list[float]] = defaultdict(list)
    for event in run.events_of("primary"):
        numbers["seq_num"].append(event["seq_num"])
        for key, value in event["data"].items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                numbers[key].append(float(value))
    x_key = _X_AXES.get(str(start.get("scan_type")), next(iter(start.get("motors") or []), "seq_num"))
    x_key = x_key if x_key in numbers else "seq_num"
    curves = {key: values for key, values in numbers.items() if key not in (x_key, "seq_num")}
    if not curves:
        raise ValueError(f"run {start.get('uid', '?')}: has neither images nor numbers to draw")
    figure = new_figure(6.4, 1.2 + 1.8 * len(curves))
    for axes, (key, values) in zip(figure.subplots(len(curves), 1, squeeze=False)[:, 0], curves.items(), strict=True):
        axes.plot(numbers[x_key][: len(values)], values, ".-", lw=0.8)
        axes.set(ylabel=key)
    axes.set(xlabel=x_key)
    figure.suptitle(f"{start.get('scan_type', start.get('plan_name', 'run'))} {start['uid'][:8]}", fontsize=9)
    return figure


def show(figure: Figure, path: Path) -> Path:
    """Save the figure and return its path; open a window if matplotlib has an interactive backend."""
    saved = save(figure, path)
    if pyplot.get_backend().lower() in backend_registry.list_builtin(BackendFilter.INTERACTIVE):  # type: ignore[no-untyped-call]
        pyplot.figure(num=path.stem, clear=True)
        pyplot.imshow(pyplot.imread(saved))
        pyplot.axis("off")
        pyplot.show(block=False)
    return saved
