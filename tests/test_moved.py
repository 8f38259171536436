"""Modules are importable under their old paths, with a warning that names the new one."""

import subprocess
import sys

import pytest

from xrm_sims.moved import MOVED


def test_an_old_path_gives_the_moved_module_and_names_the_new_path():
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "try: import recon.preparation\n"
        "except DeprecationWarning as warning: print(warning)\n"
        "warnings.simplefilter('ignore')\n"
        "import recon.preparation, recon.frames.flat_field\n"
        "print(recon.preparation is recon.frames.flat_field, recon.preparation.__spec__.name)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.splitlines() == [
        "recon.preparation has moved: import recon.frames.flat_field",
        "True recon.frames.flat_field",
    ]


def test_every_old_path_leads_to_a_module():
    code = (
        "import importlib, warnings; warnings.simplefilter('ignore')\n"
        "from xrm_sims.moved import MOVED\n"
        "print(all(importlib.import_module(old) is importlib.import_module(new) for old, new in MOVED.items()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.strip() == "True", ended.stderr


def test_an_unknown_path_is_still_an_import_error():
    with pytest.raises(ModuleNotFoundError):
        __import__("recon.never_was")
    assert "recon.never_was" not in MOVED
