from xrm_sims.app.console import Commentary

bec = Commentary()
RE.subscribe(bec)  # noqa: F821 - made by 00-session.py
