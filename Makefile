# `make demo` and `make test` set everything up; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup test test-slow check demo docs bench results clean

help:
	@echo "make demo      train and compare on the embedded data, write demo/report.html (about three minutes)"
	@echo "make test      run the tests"
	@echo "make test-slow run the tests that take minutes"
	@echo "make check     lint, format check and types"
	@echo "make docs      build the site into site/index.html; it can be read and searched without a network"
	@echo "make bench     measure speed and memory, beside other libraries (half an hour on a quiet machine)"
	@echo "make results   make every row of docs/results.md again and compare (many hours)"

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "innerloop needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/ready

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow'

test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: .venv/ready
	$(BIN)/innerloop demo --out demo

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: .venv/docs
	$(BIN)/python docs/make/pages.py
	$(BIN)/zensical build --strict --clean
	$(BIN)/python docs/make/finish.py

# easyfsl asks for torchvision, of which the methods that are measured use nothing.
.venv/peers: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps easyfsl==1.5.0
	@touch $@

bench: .venv/peers
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/minutes.py
	$(BIN)/python benchmarks/memory.py

results: .venv/ready
	$(BIN)/innerloop reproduce all

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
