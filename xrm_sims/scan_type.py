"""Types of measurement: the values of ``scan_type`` in start documents."""

from enum import StrEnum


class ScanType(StrEnum):
    """Compares equal to the plain string in a document; write ``.value`` into documents."""

    TOMOGRAPHY = "tomography"
    SIMS_RASTER = "sims_raster"
    MILLING = "milling"
    DEPOSITION = "deposition"
    SE_IMAGE = "se_image"
    EDS_MAP = "eds_map"
    CT_VOLUME = "ct_volume"  # imported, without projections
