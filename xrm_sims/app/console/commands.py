"""Commands of the console for everyday use: status, park, last, plot, specimen, preflight."""

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
from xrm_sims.data.layout import Layout


class Commands:
    """``status``, ``park``, ``abort_all``, ``last``, ``plot``, ``specimen``, ``preflight`` of one session."""

    def __init__(self, session: Session, night: Callable[..., Any]) -> None:
        self._session = session
        self._night = night

    def names(self) -> dict[str, Any]:
        """Return the commands by their name at the prompt."""
        commands = (self.status, self.park, self.abort_all, self.last, self.plot, self.specimen, self.preflight)
        return {command.__name__: command for command in commands}

    def status(self) -> None:
        """Print the state of the instrument, its holder, the current or last run, and the last night."""
        print(status_text(self._session))

    def park(self) -> None:
        """Blank both beams and park the target."""
        self._require_idle("park")
        self._session.RE(make_safe(self._session.scope))
        print(state_text(self._session))

    def abort_all(self) -> None:
        """Emergency stop: stop everything, blank both beams, park the target, abort the plan."""
        for line in self._session.abort_all() or ["nothing was on and the target was parked"]:
            print(line)

    def last(self, number: int = 1) -> LastRun:
        """Return the last run, or an earlier one counted from the end: its uid, ``.data(key)``, ``.run``, ``.plot()``.

        >>> last().data("sector_counts")  # (frame, channel, row, column)
        """
        self._session.recorder.flush()
        runs = by_time(self._session.catalog)
        if not 1 <= number <= len(runs):
            raise ValueError(f"last: needs a number from 1 to {len(runs)}, the number of runs, got {number}")
        return LastRun(runs[-number].metadata["start"], self._session.data, self.plot)

    def plot(self, run: str | int = -1) -> Path:
        """Draw a run: its last image, or the points of a scan, or the dose of a milling. Return the picture's path.

        >>> plot("3f2a9")  # the first characters of a uid; plot() draws the last run
        """
        from xrm_sims.app.console.plot_run import figure_of_run, show

        self._session.recorder.flush()
        if isinstance(run, int):
            run = self.last(-run).uid
        uid = find_run(run, self._session.data).metadata["start"]["uid"]
        figure = figure_of_run(documents(uid, self._session.data))
        return show(figure, Layout(self._session.data).pictures / f"{uid[:8]}.png")

    def specimen(self, what: str | None = None, name: str | None = None) -> None:
        """Print the mounted specimen, or exchange it. ``name`` is its ``sample_name`` in every following run.

        >>> specimen("cathode_pillar:7", name="Kokam A")
        """
        session = self._session
        if what is not None:
            self._require_idle("specimen")
            session.check_specimen(what)
            session.RE(exchange_specimen(session.scope, what))
            session.RE.md.pop("sample_name", None)  # the name of the previous specimen
        if name is not None:
            session.RE.md["sample_name"] = name
        called = f", called {session.RE.md['sample_name']}" if "sample_name" in session.RE.md else ""
        print(f"{session.scope.specimen.get()}{called}")

    def preflight(self, scope: Any, plan: Callable[..., Any], *positional: Any, **arguments: Any) -> Preflight:
        """Return time, dose, eroded depth, disk space and limits of a plan with these arguments; nothing moves.

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

    def _require_idle(self, command: str) -> None:
        if not self._session.RE.state.is_idle:
            raise ValueError(
                f"{command}: a plan is {self._session.RE.state}; RE.resume() continues it, RE.abort() ends it"
            )


@dataclass(frozen=True)
class LastRun:
    """A run in the catalogue; its text lists its data and results."""

    start: dict[str, Any]
    root: Path
    draw: Callable[[str], Path]

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def run(self) -> Any:
        """Tiled's client of the run: streams, documents, metadata."""
        return find_run(self.uid, self.root)

    def data(self, key: str) -> Any:
        """Return all frames of an external key such as ``widepix_image`` or ``sector_counts`` as an array."""
        from xrm_sims.data import read_counts

        return read_counts(self.uid, key, self.root)[0]

    def plot(self) -> Path:
        """Draw the run, as :meth:`Commands.plot`."""
        return self.draw(self.uid)

    def __repr__(self) -> str:
        run = self.run
        stop = run.metadata.get("stop") or {}
        counts = stop.get("num_events") or {}
        lines = [
            f"{self.start.get('scan_type', self.start.get('plan_name'))} {self.uid}, "
            f"{self.start.get('sample_name', '')}, {stop.get('exit_status', 'not ended')}"
        ]
        for stream in run:
            if stream != "baseline":
                keys = [
                    key for key in map(str, run[stream]) if not key.startswith(("ts_", "seq_num")) and key != "time"
                ]
                lines.append(f"  {stream} ({counts.get(stream, '?')}): {', '.join(keys)}")
        computed = open_results(self.root)
        results = sorted(computed[self.uid]) if self.uid in computed else []
        lines.append(f"  results: {', '.join(results) or 'none'}")
        return "\n".join([*lines, "  last().data(key) reads the frames of a key, last().plot() draws the run"])


def state_text(session: Session) -> str:
    """Return the state of the instrument in three lines."""
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


def status_text(session: Session) -> str:
    """Return what :meth:`Commands.status` prints."""
    scope = session.scope
    lines = [
        f"{session.settings.name}, data in {session.data}",
        state_text(session),
        f"  chamber {scope.chamber_pressure_pa.get():.1e} Pa, instrument time {duration(scope.time_s.get())}",
        f"  held by {holder_of(Layout(session.data)) or 'nobody'}",
        f"RunEngine: {session.RE.state}",
    ]
    status = status_of(session.data)
    if (run := status["run"]) is not None:
        left = "" if run["left_s"] is None else f", {duration(run['instrument_left_s'])} of instrument time left"
        lines.append(
            f"last run: {run['kind']} {run['uid']}, {run['taken']} of {run['total']} {run['unit']}s, "
            f"{run['exit_status'] or 'not ended'}{left}"
        )
    if (night := status["night"]) is not None:
        done = sum(step["status"] == "done" for step in night["outcomes"])
        lines.append(f"last night: {night['title']}, {night['state']}, {done} of {len(night['outcomes'])} steps done")
    behind = session.recorder.behind
    lines.append(f"catalogue: {f'{len(behind)} runs of the journal are missing' if behind else 'complete'}")
    return "\n".join(lines)
