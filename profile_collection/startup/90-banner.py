print(banner(session))  # noqa: F821, T201 - made by 00-session.py
