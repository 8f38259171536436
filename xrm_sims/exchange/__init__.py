"""Export of runs and results to NXtomo, DataExchange, OME-TIFF, OME-Zarr and other formats, and import from some.

Use ``export_run`` and ``import_file``; each format has its own module.
"""

from xrm_sims.exchange.exporting import FORMATS, export_run
from xrm_sims.exchange.importing import import_file

__all__ = ["FORMATS", "export_run", "import_file"]
