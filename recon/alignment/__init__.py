"""The geometry of a scan, found from its data."""
