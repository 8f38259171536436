"""Frame files, journal, catalogue and results."""

from xrm_sims.data.catalog import (
    Experiment,
    documents,
    find_run,
    open_catalog,
    open_experiment,
    open_results,
    read_counts,
)

__all__ = ["Experiment", "documents", "find_run", "open_catalog", "open_experiment", "open_results", "read_counts"]
