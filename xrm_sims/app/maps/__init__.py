"""SIMS maps and their phases as results of a run."""
