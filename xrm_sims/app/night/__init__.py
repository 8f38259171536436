"""Unattended measurements: night sheets, the queue server, the status page."""
