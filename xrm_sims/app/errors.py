"""What the user is told when something goes wrong: one sentence, the cause and not the machinery around it."""

from __future__ import annotations

import os


class Interrupted(RuntimeError):
    """The user stopped a run; the instrument is safe and what was acquired is kept."""


def root_cause(error: BaseException) -> BaseException:
    """The innermost cause: a RunEngine wraps a driver's refusal in failed statuses."""
    seen: set[int] = set()
    while error.__cause__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error


def sentence(error: BaseException) -> str:
    """One line for people; ``XRM_SIMS_DEBUG`` in the environment lets the traceback through instead."""
    if os.environ.get("XRM_SIMS_DEBUG"):
        raise error
    cause = root_cause(error)
    text = " ".join(str(cause).split())
    if isinstance(cause, (ValueError, RuntimeError, OSError, LookupError)) and text:
        return text
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
