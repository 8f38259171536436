"""Words at the console: what one says without thinking of plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plans
from plans.preflight import Preflight, duration
from plans.stubs import exchange_specimen, make_safe
from xrm_sims.app.night.status_page import holder_of, status_of
from xrm_sims.app.session.recovery import beams_on
from xrm_sims.app.session.session import Session
from xrm_sims.data import documents, find_run, open_results
from xrm_sims.data.catalog import by_time
from xrm_sims.data.journal import journal_paths
from xrm_sims.data.layout import Layout


class Words:
    """``status``, ``park``, ``abort_all``, ``last``, ``plot``, ``specimen``, ``preflight`` of one session."""

    def __init__(self, session: Session, night: Callable[..., Any]) -> None:
        self._session = session
        self._night = night

    def names(self) -> dict[str, Any]:
        """As they go into the namespace."""
        words = (self.status, self.park, self.abort_all, self.last, self.plot, self.specimen, self.preflight)
        return {word.__name__: word for word in words}

    def status(self) -> None:
        """The instrument, who holds it, the run that goes on or the last one, the night, on one page."""
        print(page(self._session))

    def park(self) -> None:
        """Both beams blanked, the target parked."""
        self._needs_an_idle_engine("park")
        self._session.RE(make_safe(self._session.scope))
        print(state_text(self._session))

    def abort_all(self) -> None:
        """Emergency stop: everything stops, both beams are blanked, the target is parked, the plan is aborted."""
        for line in self._session.abort_all() or ["nothing was on and the target was parked"]:
            print(line)

    def last(self, number: int = 1) -> LastRun:
        """The last run, or the one that many before it: its uid, ``.data(key)``, ``.run``, ``.plot()``.

        >>> last().data("sector_counts")  # (frame, channel, row, column)
        """
        runs = by_time(self._session.catalog)
        self._session.recorder.flush()
        if not 1 <= number <= len(runs):
            raise ValueError(f"last: there are {len(runs)} runs, got {number}")
        return LastRun(runs[-number].metadata["start"], self._session.data, self.plot)

    def plot(self, run: str | int = -1) -> Path:
        """A run as a picture: its last image, the points of a scan, the dose of a milling. Returns the picture's file.

        >>> plot("3f2a9")  # the first characters of a uid; plot() takes the last run
        """
        from xrm_sims.app.console.plot_run import figure_of_run, show

        self._session.recorder.flush()
        if isinstance(run, int):
            run = self.last(-run).uid
        uid = find_run(run, self._session.data).metadata["start"]["uid"]
        figure = figure_of_run(documents(uid, self._session.data))
        return show(figure, Layout(self._session.data).pictures / f"{uid[:8]}.png")

    def specimen(self, what: str | None = None, name: str | None = None) -> None:
        """Say which specimen is in, or exchange it; ``name`` is what people call it and goes into every run.

        >>> specimen("cathode_pillar:7", name="Kokam A")
        """
        session = self._session
        if what is not None:
            self._needs_an_idle_engine("specimen")
            session.check_specimen(what)
            session.RE(exchange_specimen(session.scope, what))
            session.RE.md.pop("sample_name", None)  # it was the other one's
        if name is not None:
            session.RE.md["sample_name"] = name
        called = f", called {session.RE.md['sample_name']}" if "sample_name" in session.RE.md else ""
        print(f"{session.scope.specimen.get()}{called}")

    def preflight(self, scope: Any, plan: Callable[..., Any], *positional: Any, **arguments: Any) -> Preflight:
        """Time, dose, eroded depth, disk and limits of a plan called with these arguments; nothing moves, no beam.

        >>> preflight(scope, tomography, num=600, step_deg=0.6, binning=4)
        >>> preflight(scope, night, "sheet.toml")
        """
        if plan is self._night:
            from xrm_sims.app.night.runner import rehearse
            from xrm_sims.app.night.sheet_file import SheetFile

            return rehearse(SheetFile(Path(*positional, **arguments)), self._session.data)
        if positional:
            arguments = {"pattern": positional[0], **arguments}
        return plans.preflight(scope, plan, **arguments)

    def _needs_an_idle_engine(self, word: str) -> None:
        if not self._session.RE.state.is_idle:
            raise ValueError(
                f"{word}: a plan is {self._session.RE.state}; RE.resume() goes on with it, RE.abort() ends it"
            )


@dataclass(frozen=True)
class LastRun:
    """A run that was just taken; print it."""

    start: dict[str, Any]
    root: Path
    draw: Callable[[str], Path]

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def run(self) -> Any:
        """Tiled's client of it: streams, documents, metadata."""
        return find_run(self.uid, self.root)

    def data(self, key: str) -> Any:
        """All frames of an external key such as ``widepix_image`` or ``sector_counts`` as an array."""
        from xrm_sims.data import read_counts

        return read_counts(self.uid, key, self.root)[0]

    def plot(self) -> Path:
        """As :meth:`Words.plot`."""
        return self.draw(self.uid)

    def __repr__(self) -> str:
        run = self.run
        stop = run.metadata.get("stop") or {}
        read = {
            stream: [key for key in map(str, run[stream]) if not key.startswith(("ts_", "seq_num")) and key != "time"]
            for stream in run
            if stream != "baseline"
        }
        taken = stop.get("num_events") or {}
        computed = open_results(self.root)
        results = sorted(computed[self.uid]) if self.uid in computed else []
        return "\n".join(
            [
                f"{self.start.get('scan_type', self.start.get('plan_name'))} {self.uid}, "
                f"{self.start.get('sample_name', '')}, {stop.get('exit_status', 'not ended')}",
                *(f"  {stream} ({taken.get(stream, '?')}): {', '.join(keys)}" for stream, keys in read.items()),
                f"  results: {', '.join(results) or 'none'}",
                "  last().data(key) reads a key's frames, last().plot() draws it",
            ]
        )


def state_text(session: Session) -> str:
    """The instrument in three lines."""
    scope, stage, target = session.scope, session.scope.stage, session.scope.target
    on = " and ".join(beams_on(session.scope))
    parked = " (parked)" if target.x_um.get() <= session.settings.target.park_x_um else ""
    return "\n".join(
        [
            f"  {scope.specimen.get()} in {scope.mode.get()} mode; {f'{on} ON' if on else 'beams blanked'}",
            f"  target {target.material.get()} at x = {target.x_um.get():g} um{parked}, "
            f"rotation {scope.rotation.angle_deg.get():g} deg",
            f"  stage ({stage.x_um.get():g}, {stage.y_um.get():g}, {stage.z_um.get():g}) um, "
            f"tilt {stage.tilt_deg.get():g} deg, bias {stage.bias_v.get():g} V",
        ]
    )


def page(session: Session) -> str:
    """Everything :meth:`Words.status` says."""
    scope = session.scope
    lines = [
        f"{session.settings.name}, data in {session.data}",
        state_text(session),
        f"  chamber {scope.chamber_pressure_pa.get():.1e} Pa, instrument time {duration(scope.time_s.get())}",
        f"  held by {holder_of(Layout(session.data)) or 'nobody'}",
        f"RunEngine: {session.RE.state}",
    ]
    if journal_paths(Layout(session.data).journal):
        seen = status_of(session.data)
        run, night = seen["run"], seen["night"]
        left = "" if run["left_s"] is None else f", {duration(run['instrument_left_s'])} of instrument time left"
        ended = run["exit_status"] or "not ended"
        lines.append(
            f"last run: {run['kind']} {run['uid']}, {run['taken']} of {run['total']} {run['unit']}s, {ended}{left}"
        )
        if night is not None:
            done = sum(step["status"] == "done" for step in night["outcomes"])
            lines.append(
                f"last night: {night['title']}, {night['state']}, {done} of {len(night['outcomes'])} steps done"
            )
    behind = session.recorder.behind
    lines.append(f"catalogue: {f'{len(behind)} runs behind the journal' if behind else 'complete'}")
    return "\n".join(lines)
