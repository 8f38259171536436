"""Maps of ions: counting statistics, drift, isotope ratios, depth profiles."""

from xrm_sims.correlate.maps.field_maps import channel_statistics, rgb_composition, slice_in_field

__all__ = ["channel_statistics", "rgb_composition", "slice_in_field"]
