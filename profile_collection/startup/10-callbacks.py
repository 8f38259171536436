from bluesky.callbacks.best_effort import BestEffortCallback

bec = BestEffortCallback()
bec.disable_plots()
RE.subscribe(bec)  # noqa: F821 - made by 00-session.py
