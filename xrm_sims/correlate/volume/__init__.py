"""A volume divided into particles, pores and cracks, and the ranking of ROIs."""
