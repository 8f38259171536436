"""The protocols of plans.instrument are checked by mypy: misspelt quantities and incomplete instruments are errors."""

import re
import sys
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parents[2]
SNIPPET = """\
from typing import Protocol

from devices import Instrument
from plans.instrument import Quantity, Scope


class Larger(Scope, Protocol):
    @property
    def load_lock_pa(self) -> Quantity[float]: ...


def plan(scope: Scope) -> None:
    scope.beam.voltage_kv
    scope.beam.voltge_kv


def accepted(instrument: Instrument) -> Scope:
    return instrument


def missing(instrument: Instrument) -> Larger:
    return instrument
"""


def test_mypy_finds_misspelt_and_missing_quantities(tmp_path, monkeypatch):
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    (tmp_path / "snippet.py").write_text(SNIPPET)
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--python-executable", sys.executable]
    options += ["--cache-dir", str(ROOT / ".mypy_cache")]  # of make lint: one second instead of fourteen
    found, _, status = api.run([*options, str(tmp_path / "snippet.py")])
    misspelt, incomplete = [line.split("snippet.py:")[1] for line in found.splitlines() if ": error:" in line]
    assert status == 1
    assert re.match(r"14: error:.*voltge_kv", misspelt)
    assert re.match(r"22: error:.*Larger", incomplete)
