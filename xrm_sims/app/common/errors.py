"""Errors for the user: one sentence with the cause. Messages of libraries go to ``log.txt`` in the data root."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

_OWN_ROOMS = ("xrm_sims", "devices", "plans", "recon")
_OWN_FOLDERS = tuple(str(Path(__file__).parents[3] / room) + os.sep for room in _OWN_ROOMS)
DEBUG = "XRM_SIMS_DEBUG"


def root_cause(error: BaseException) -> BaseException:
    """Return the error of a device from the FailedStatus in which the RunEngine wraps it."""
    from bluesky.utils import FailedStatus

    while isinstance(error, FailedStatus) and error.__cause__ is not None:
        error = error.__cause__
    return error


def sentence(error: BaseException) -> str:
    """Return an error as one line; with ``XRM_SIMS_DEBUG`` in the environment, raise it with its traceback."""
    if os.environ.get(DEBUG):
        raise error
    return in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """Return the cause of an error as one line."""
    cause = root_cause(error)
    text = " ".join(str(cause).split())
    if isinstance(cause, OSError) and cause.filename is not None and cause.strerror:
        return f"{cause.filename}: cannot be used ({cause.strerror})"
    if isinstance(cause, (ValueError, RuntimeError, OSError)) and text:
        return text
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def is_own(filename: str) -> bool:
    """Return whether a source file belongs to this project."""
    return os.path.abspath(filename).startswith(_OWN_FOLDERS)


class _Log(logging.FileHandler):
    """``log.txt`` of a data root, created with the first record; errors of writing are ignored."""

    def __init__(self, data: Path | None) -> None:
        from xrm_sims.data.layout import data_root

        super().__init__(data_root(data) / "log.txt", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if Path(self.baseFilename).parent.is_dir():  # a refused command must not create a data root
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        pass


class _Own(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in _OWN_ROOMS


def keep_log(data: Path | None) -> None:
    """Log messages and warnings of libraries in the data root; print this project's on stderr, a line each."""
    root = logging.getLogger()
    if os.environ.get(DEBUG) or root.handlers:
        return
    own = logging.StreamHandler()
    own.setFormatter(logging.Formatter("xrm-sims: %(message)s"))
    own.addFilter(_Own())
    root.addHandler(own)
    root.addHandler(_Log(data))
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    if is_own(filename) and issubclass(category, UserWarning):
        print(f"xrm-sims: {message}", file=sys.stderr)
    else:
        logging.getLogger("py.warnings").warning("%s:%s: %s: %s", filename, lineno, category.__name__, message)
