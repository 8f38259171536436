"""Frame files, journal, catalogue and results."""

from xrm_sims.data.catalog import (
    Experiment,
    documents,
    find_run,
    open_catalog,
    open_experiment,
    open_results,
)
from xrm_sims.data.stored import read_counts, read_raster

__all__ = [
    "Experiment",
    "documents",
    "find_run",
    "open_catalog",
    "open_experiment",
    "open_results",
    "read_counts",
    "read_raster",
]
