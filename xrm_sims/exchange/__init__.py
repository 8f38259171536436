"""Files that others read and write: runs and results to NXtomo, DataExchange, OME-TIFF, OME-Zarr and more, and back.

``export_run`` and ``import_file`` are the two ways through; each format is a module of its own.
"""

from xrm_sims.exchange.exporting import FORMATS, export_run
from xrm_sims.exchange.importing import import_file

__all__ = ["FORMATS", "export_run", "import_file"]
