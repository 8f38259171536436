"""The IPython console and its commands."""
