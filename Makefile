# Everything is installed into .venv by these targets; PYTHON chooses the interpreter that makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := $(wildcard protocols/kernels/*.cpp protocols/kernels/*.h)

.PHONY: demo test test-fast lint protos bench peers clean install

install: $(STAMP)

# torch goes in first and by its exact pin: an open range would fetch gigabytes of CUDA.
$(STAMP): pyproject.toml setup.py constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[node,models,bench,dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/privinf demo

test: $(STAMP)
	$(BIN)/python -m pytest

# Without the tests that take minutes or start server processes.
test-fast: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not processes"

# The checkout's folders do not lie as they are imported, so types are checked through a tree of links.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python deploy/typed_tree.py $(VENV)/typed
	cd $(VENV)/typed && ../bin/mypy --config-file ../../pyproject.toml -p privinf
	cd $(VENV)/typed && ../bin/lint-imports --config ../../pyproject.toml

protos: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/privinf/v1/*.proto

# Measures all, then draws plots and the README's table from the JSON alone; on an otherwise idle machine.
bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks --benchmark-json $(VENV)/speed.json
	$(BIN)/privinf bench --json benchmarks/results/bench.json
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.plots
	$(BIN)/python -m benchmarks.table

# The peers' environments, where the benchmark looks for them; without them they are left out, and it is said.
peers:
	benchmarks/baselines/install.sh benchmarks/.peers/spu
	benchmarks/baselines/install_crypten.sh benchmarks/.peers/crypten

clean:
	rm -rf $(VENV) build *.egg-info protocols/kernels/*.so
