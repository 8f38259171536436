"""Bluesky plans. Each takes the instrument, ``scope``, first and returns the uid of its run."""

from plans.correlative import Aim, Correlative, correlative, dig_and_map
from plans.deposition import deposit, resume_deposit
from plans.elements import map_elements
from plans.imaging import eds_map, eds_request, se_image
from plans.ions import resume_sims_raster, sims_raster
from plans.milling import mill, resume_mill
from plans.night import check_sheet, night
from plans.night_record import Night, Outcome, Unfinished
from plans.preflight import Estimate, Preflight
from plans.requests import preflight
from plans.sheet import Sheet, SheetError, read_sheet
from plans.steps import Bench, Computed
from plans.tomography import resume_tomography, tomography
from plans.two_target import two_target_tomography

__all__ = [
    "Aim",
    "Bench",
    "Computed",
    "Correlative",
    "Estimate",
    "Night",
    "Outcome",
    "Preflight",
    "Sheet",
    "SheetError",
    "Unfinished",
    "check_sheet",
    "correlative",
    "deposit",
    "dig_and_map",
    "eds_map",
    "eds_request",
    "map_elements",
    "mill",
    "night",
    "preflight",
    "read_sheet",
    "resume_deposit",
    "resume_mill",
    "resume_sims_raster",
    "resume_tomography",
    "se_image",
    "sims_raster",
    "tomography",
    "two_target_tomography",
]
