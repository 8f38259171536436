"""An experiment for notebooks: its runs as a table, its data as lazy arrays with coordinates and units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xrm_sims.data import arrays
from xrm_sims.data.catalog import (
    as_catalog,
    by_time,
    find_run,
    is_address,
    open_catalog,
    results_beside,
    tiled_parts_of,
)
from xrm_sims.scan_type import ScanType

if TYPE_CHECKING:
    import pandas
    import xarray

LEAST_OF_A_UID = 5  # characters that identify an experiment or a run


@dataclass(frozen=True, repr=False)
class Experiment:
    """Runs that belong together, oldest first, and their results.

    The methods below use the last run of a type, or the run with the given uid (its first characters are enough), with
    all parts of a resumed measurement. They return lazy arrays of xarray over dask. They raise ValueError, listing what
    exists, when the run or result does not exist.
    """

    uid: str
    runs: list[Any]
    results: dict[str, Any] = field(default_factory=dict)

    def of_type(self, scan_type: str) -> list[Any]:
        """Its runs of one kind: ``tomography``, ``sims_raster``, ``milling``, ``deposition``, ``se_image``,
        ``eds_map``."""
        return [run for run in self.runs if run.metadata["start"].get("scan_type") == scan_type]

    def result(self, kind: str, uid: str | None = None) -> Any:
        """Return a Tiled client of the newest result of a kind, or of the result of one run.

        Raises ValueError, listing what exists, when there is none, and when its writer did not finish.
        """
        for run in reversed(self.runs if uid is None else tiled_parts_of(self._run(uid))):
            of_run = self.results.get(run.metadata["start"]["uid"])
            if of_run is not None and kind in of_run:
                if not of_run[kind].metadata.get("complete"):
                    raise ValueError(f"result {kind!r} of run {of_run.item['id']} is incomplete: compute it again")
                return of_run[kind]
        known = sorted({name for of_run in self.results.values() for name in of_run})
        whose = f"experiment {self.uid}" if uid is None else f"run {uid}"
        raise ValueError(f"{whose} has no result {kind!r}; the experiment has {', '.join(known) or 'none'}")

    def table(self) -> pandas.DataFrame:
        """Return a table of the runs: time, type, sample, operator, frames, exit status."""
        return _table(self.runs)

    def projections(self, stream: str = "primary", uid: str | None = None) -> xarray.DataArray:
        """Return raw counts (angle, row, column) of a tomography, or its ``flat``, ``dark`` or ``reference`` frames.
        See :func:`xrm_sims.data.arrays.projections`."""
        return arrays.projections(tiled_parts_of(self._run(uid, ScanType.TOMOGRAPHY)), stream)

    def volume(self, uid: str | None = None, factor: int = 1) -> xarray.DataArray:
        """Return the reconstruction (z, y, x) of a tomography in 1/um, over the specimen frame in um. For large volumes
        ``factor`` 2, 4, 8 … selects the means over that many voxels along each edge."""
        result = self.result("volume", uid)
        return arrays.volume(result, self._run(result.metadata["run_uid"]).metadata["start"], factor=factor)

    def maps(self, uid: str | None = None) -> xarray.DataArray:
        """Return SIMS counts (frame, isotope, v, u); after registration with x, y and z in the volume's frame.
        See :func:`xrm_sims.data.arrays.maps`."""
        parts = tiled_parts_of(self._run(uid, ScanType.SIMS_RASTER))
        of_run = self.results.get(parts[0].metadata["start"]["uid"], {})
        return arrays.maps(parts, dict(of_run["registration"].metadata) if "registration" in of_run else None)

    def se_image(self, uid: str | None = None) -> xarray.DataArray:
        """Return the secondary-electron image (v, u) in counts."""
        return arrays.image(self._run(uid, ScanType.SE_IMAGE), arrays.SE_KEY)

    def eds_map(self, uid: str | None = None) -> xarray.DataArray:
        """Return X-ray counts (element, v, u)."""
        return arrays.image(self._run(uid, ScanType.EDS_MAP), arrays.EDS_KEY)

    def _run(self, uid: str | None, scan_type: str = "") -> Any:
        runs = self.of_type(scan_type) if uid is None else self.runs
        for run in reversed(runs):
            if run.metadata["start"]["uid"].startswith(uid or ""):
                return run
        kinds = ", ".join(sorted({str(run.metadata["start"].get("scan_type", "unknown")) for run in self.runs}))
        wanted = scan_type if uid is None else f"run {uid}"
        raise ValueError(f"experiment {self.uid} has no {wanted}; its runs are: {kinds}")

    def __repr__(self) -> str:
        lines = [f"experiment {self.uid}", self.table().to_string()]
        lines += [f"results of {uid[:8]}: {', '.join(sorted(of_run))}" for uid, of_run in self.results.items()]
        return "\n".join(lines)


def list_runs(data: Any = None, *, api_key: str | None = None) -> pandas.DataFrame:
    """Return a table of all runs of a data root, a server's address or a client of ``/runs``, oldest first.

    Errors as for :func:`open_experiment`.
    """
    return _table(by_time(_catalog(data, api_key)).values())


def open_experiment(uid: str | None = None, data: Any = None, *, api_key: str | None = None) -> Experiment:
    """Return the runs and results of an experiment.

    Parameters
    ----------
    uid : uid of an experiment or of any of its runs, or its first five characters or more; None for that of the newest
        run. A run without experiment is returned with its parts alone.
    data : data root, address of a Tiled server (``http://…``, as ``xrm-sims serve`` prints it), or a client of
        ``/runs``.
    api_key : key of that server; needed when neither the address nor TILED_API_KEY holds it.

    Examples
    --------
    >>> experiment = open_experiment(data="demo/data")
    >>> experiment.volume().sel(z=0, method="nearest")
    >>> experiment.maps().sel(isotope="7Li").sum("frame").compute()

    Raises ValueError for an unknown or ambiguous uid, RuntimeError when no server answers at the
    address, and PermissionError when it refuses the key.
    """
    from tiled.queries import Eq

    catalog = _catalog(data, api_key)
    if uid is None:
        if not len(catalog):
            raise ValueError("the catalogue is empty: measure something, or name another data root")
        uid = str(by_time(catalog)[-1].metadata["start"]["uid"])
    uid = _whole_uid(catalog, uid)
    runs = list(catalog.search(Eq("start.experiment_uid", uid)).values())
    if not runs:
        run = find_run(uid, catalog if is_address(data) else data)
        uid = str(run.metadata["start"].get("experiment_uid") or run.metadata["start"]["uid"])
        runs = list(catalog.search(Eq("start.experiment_uid", uid)).values()) or tiled_parts_of(run)
    runs.sort(key=lambda run: run.metadata["start"]["time"])
    everything = results_beside(catalog)
    uids = [run.metadata["start"]["uid"] for run in runs]
    return Experiment(uid, runs, {run_uid: everything[run_uid] for run_uid in uids if run_uid in everything})


def _whole_uid(catalog: Any, uid: str) -> str:
    """Return the uid of the experiment that begins so, or ``uid`` itself. Raises ValueError when several do."""
    from tiled.queries import Eq, Like

    if len(uid) < LEAST_OF_A_UID or len(catalog.search(Eq("start.experiment_uid", uid))):
        return uid
    alike = catalog.search(Like("start.experiment_uid", f"{uid}%")).values()
    found = sorted({run.metadata["start"]["experiment_uid"] for run in alike})
    if len(found) > 1:
        raise ValueError(f"experiment {uid!r}: more than one begins so; give more of its uid")
    return found[0] if found else uid


def _catalog(data: Any, api_key: str | None) -> Any:
    return open_catalog(data, api_key) if is_address(data) else as_catalog(data)


def _table(runs: Iterable[Any]) -> pandas.DataFrame:
    import pandas

    rows = []
    for run in runs:
        start, stop = run.metadata["start"], run.metadata.get("stop") or {}
        row = {
            "uid": start["uid"][:8],
            "time": pandas.Timestamp(start["time"], unit="s").floor("s"),
            "scan_type": start.get("scan_type", start.get("plan_name", "")),
            "sample_name": start.get("sample_name", ""),
            "operator": start.get("operator", ""),
            "frames": stop.get("num_events", {}).get("primary", 0),
            "ended": stop.get("exit_status", "still running"),
        }
        rows.append(row)
    columns = ["uid", "time", "scan_type", "sample_name", "operator", "frames", "ended"]
    return pandas.DataFrame(rows, columns=columns).set_index("uid")
