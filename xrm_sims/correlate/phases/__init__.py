"""Which phase a pixel or a particle is."""
