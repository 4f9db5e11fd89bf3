# Tasks.  `make demo` and `make test` work on a fresh machine: Python 3.11, pip, make.

PYTHON ?= python3
# The CPU build of torch where there is no NVIDIA device, the CUDA build where there is one.
TORCH ?= $(if $(wildcard /dev/nvidia0),torch==2.13.0,torch==2.13.0+cpu)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test test-slow lint format bench clean

help: ## List the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/ready ## Make .venv with everything that a user and a developer need

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[planner,executor,dev]'
	touch $@

demo: $(VENV)/ready ## Plan, check and run: five daemons on loopback serve while the LLM arrives
	$(BIN)/python -m examples.demo

test: $(VENV)/ready ## All tests that need no GPU, no RDMA and no network
	$(BIN)/python -m pytest -q -m "not slow and not gpu and not rdma" -n 2

test-slow: $(VENV)/ready ## The long searches and soaks
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/ready ## mypy --strict and ruff
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(VENV)/ready ## Let ruff write
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean: ## Remove what the tasks made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out
