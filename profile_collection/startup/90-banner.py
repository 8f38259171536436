from xrm_sims.app.console.ipython import banner
from xrm_sims.app.console.prompt import set_up

set_up(get_ipython(), globals())  # noqa: F821 - IPython's own
print(banner(session))  # noqa: F821 - made by 00-session.py
