"""Maps of ions: counting statistics, drift, isotope ratios, depth profiles."""

from xrm_sims.correlate.maps.field_maps import (
    ChannelStatistics,
    channel_statistics,
    labels_in_field,
    rgb_composition,
    slice_in_field,
    sum_frames,
)

__all__ = [
    "ChannelStatistics",
    "channel_statistics",
    "labels_in_field",
    "rgb_composition",
    "slice_in_field",
    "sum_frames",
]
