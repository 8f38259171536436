from xrm_sims.app.console.ipython import console_session, namespace

session = console_session()
globals().update(namespace(session))
