"""System programs that tests need."""

import os
import shutil

import pytest


def installed(package, *names, folders=""):
    """Return the path of one of these programs, from the PATH or ``folders``.

    Without any the test is skipped with the name of the Debian package; in CI, which installs them all, it fails.
    """
    for name in names or (package,):
        if path := shutil.which(name) or shutil.which(name, path=folders):
            return path
    needed = f"needs {package} (Debian: apt-get install {package})"
    if os.environ.get("CI"):
        pytest.fail(needed)
    pytest.skip(needed)
