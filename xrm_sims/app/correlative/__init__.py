"""The closed loop from a tomogram to the chemistry of one ROI."""
