"""From the frames of a scan to line integrals."""
