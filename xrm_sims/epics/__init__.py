"""The instrument over EPICS Channel Access: a server (``ioc``) for any drivers, and drivers (``drivers``) over one.

Both sides need the extra ``epics``: ``pip install 'xrm-sims[epics]'``.
"""
