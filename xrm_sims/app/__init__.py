"""The composition root: session, command line, console, demo."""
