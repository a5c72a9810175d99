# Everything is installed into .venv by these targets; PYTHON chooses the interpreter that makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := .venv-lock
NEWEST := .venv-newest
# One worker more than processors: many tests wait for a while.
SIDE_BY_SIDE := -n 3 --dist worksteal
EXTRAS := node models chat convert train images tensorboard search bench dev
NATIVE := $(wildcard protocols/kernels/*.cpp protocols/kernels/*.h)

.PHONY: demo test test-fast test-newest lint protos lock bench peers clean install

install: $(STAMP)

# torch goes in first and by its exact pin: an open range would fetch gigabytes of CUDA. The rest is locked.
$(STAMP): pyproject.toml setup.py constraints.txt requirements.lock $(NATIVE)
	@test -e $@ || echo "installing into $(VENV): about 1.6 GB, some minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement constraints.txt --constraint requirements.lock
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)
	$(BIN)/privinf demo

# Bytecode is kept whatever the environment says: else every worker and every server would compile all sources again.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

# Everything; the tests that start server processes by themselves, those of a file together, as they share servers.
test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not processes"
	$(BIN)/python -m pytest -n 3 --dist loadfile -m processes

# Without server processes, and without slow tests and most cases of long ones.
test-fast: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --hypothesis-profile fast -m "not slow and not processes"

# The newest Python that is installed, without what needs torch where no CPU build of it is at hand.
test-newest:
	deploy/test_newest.sh $(NEWEST)

# The checkout's folders do not lie as they are imported, so types are checked through a tree of links.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python deploy/typed_tree.py $(VENV)/typed
	cd $(VENV)/typed && ../bin/mypy --config-file ../../pyproject.toml -p privinf
	cd $(VENV)/typed && ../bin/lint-imports --config ../../pyproject.toml

protos: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. proto/privinf/v1/*.proto

# Refreshes requirements.lock: the newest versions that pyproject.toml allows, for every Python it supports.
lock:
	test -x $(LOCK)/bin/uv || { $(PYTHON) -m venv $(LOCK) && $(LOCK)/bin/python -m pip install --quiet uv==0.13.9; }
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(LOCK)/bin/uv pip compile --quiet --upgrade --universal \
	  --python-version 3.11 $(foreach extra,$(EXTRAS),--extra $(extra)) --group install --no-emit-package torch --constraint constraints.txt \
	  --no-annotate --output-file requirements.lock pyproject.toml

# Measures everything, then draws plots and writes the tables of docs/speed.md from the JSON alone; needs an idle machine.
bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks --benchmark-json $(VENV)/speed.json
	$(BIN)/privinf bench --json benchmarks/results/bench.json
	$(BIN)/python -m benchmarks.measure.growth
	$(BIN)/python -m benchmarks.report.plots
	$(BIN)/python -m benchmarks.report.table

# The peers' environments, where the benchmark looks for them; without them they are left out, and it is said.
peers:
	benchmarks/baselines/install.sh benchmarks/.peers/spu
	benchmarks/baselines/install_crypten.sh benchmarks/.peers/crypten

clean:
	rm -rf $(VENV) $(LOCK) $(NEWEST) build *.egg-info protocols/kernels/*.so
