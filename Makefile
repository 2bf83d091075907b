# make demo    the whole path: train, evaluate, fold, export, self-test, live from a fake sensor
# make test    the tests;  make lint, make types, make bench, make bench-live
#
# PYTHON=python3.11         the interpreter of the virtual environment
# TORCH=torch==2.13.0       what pip installs for torch
# PIP_INDEX_TORCH=URL       an index with CPU-only wheels of torch (a plain install on Linux fetches gigabytes)
# DATA=FILE                 recordings for the demo instead of the download

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
TORCH_INDEX = $(if $(PIP_INDEX_TORCH),--index-url $(PIP_INDEX_TORCH))

.PHONY: demo test lint types bench bench-live campaign clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_INDEX) "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt anyskin
	touch $@

demo: $(STAMP)
	$(BIN)/python tools/demo.py $(if $(DATA),--data $(DATA))

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not campaign"

campaign: $(STAMP)
	$(BIN)/python -m pytest -m campaign
	HISS_EXAMPLES=20000 $(BIN)/python -m pytest tests/test_devices_framers.py tests/test_devices_fast.py tests/test_framing.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python tools/bench.py --out bench.json

bench-live: $(STAMP)
	$(BIN)/hiss bench-live --seconds 60

clean:
	rm -rf $(VENV) build dist demo
