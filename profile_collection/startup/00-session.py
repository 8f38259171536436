from xrm_sims.app.console import console_session, namespace

session = console_session()
globals().update(namespace(session))
