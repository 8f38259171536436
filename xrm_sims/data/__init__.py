"""Frame files, journal, catalogue and results."""

from xrm_sims.data.catalog import Experiment, documents, open_catalog, open_experiment, open_results

__all__ = ["Experiment", "documents", "open_catalog", "open_experiment", "open_results"]
