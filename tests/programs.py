"""Programs of the system that a test cannot do without."""

import os
import shutil

import pytest


def installed(package, *names):
    """Where one of these programs is. Without any the test is skipped, with the package of Debian that has it; in CI,
    which installs them all, it fails."""
    for name in names or (package,):
        if path := shutil.which(name):
            return path
    told = f"needs {package} (Debian: apt-get install {package})"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)
