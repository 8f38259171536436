"""Frame files, journal, catalogue and results."""

from xrm_sims.data.catalog import documents, find_run, open_catalog, open_results
from xrm_sims.data.experiment import Experiment, list_runs, open_experiment
from xrm_sims.data.stored import read_counts, read_raster

__all__ = [
    "Experiment",
    "documents",
    "find_run",
    "list_runs",
    "open_catalog",
    "open_experiment",
    "open_results",
    "read_counts",
    "read_raster",
]
