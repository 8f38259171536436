from xrm_sims.app.console import banner, show_refusals_as_sentences

show_refusals_as_sentences(get_ipython())  # noqa: F821 - IPython's own
print(banner(session))  # noqa: F821 - made by 00-session.py
