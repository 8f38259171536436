"""Programs of the system that a test cannot do without."""

import os
import shutil

import pytest


def installed(package, *names, folders=""):
    """Where one of these programs is, on the PATH or in these folders. Without any the test is skipped, with Debian's
    package that has it; in CI, which installs them all, it fails."""
    for name in names or (package,):
        if path := shutil.which(name) or shutil.which(name, path=folders):
            return path
    told = f"needs {package} (Debian: apt-get install {package})"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)
