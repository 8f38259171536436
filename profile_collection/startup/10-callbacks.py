import atexit

from bluesky.callbacks.best_effort import BestEffortCallback

bec = BestEffortCallback()
bec.disable_plots()
session.RE.subscribe(bec)  # noqa: F821 - made by 00-session.py
atexit.register(session.close)  # noqa: F821
