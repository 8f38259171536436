"""Resolution of a volume: edge width, Fourier shell correlation."""
