# `make demo` and `make test` each work alone: they build their own .venv from pinned constraints.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
SEED ?= 1
OUT ?= demo

.PHONY: install demo test soak lint bench docs clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "xrm-sims needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/xrm-sims demo --out $(OUT) --seed $(SEED)

# a process for each core, a test file staying in one
test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

soak: install
	$(BIN)/python -m pytest -m soak

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

docs: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --builder html docs docs/_build/html

clean:
	rm -rf .venv demo build dist docs/_build *.egg-info
