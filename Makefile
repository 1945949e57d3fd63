# `make demo` and `make test` need Python 3.11 or newer and make; they set up .venv themselves.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# The nets here are small: on a shared machine, waiting for each other costs threads more than they bring.
export OMP_NUM_THREADS ?= 1
READY := .venv/.ready

.PHONY: demo test test-oldest test-newest test-gpu wheel lint type docs bench clean

demo: $(READY)  ## train a lifter with and without SEAL; table and picture in runs/demo
	$(BIN)/seal-lightning demo $(ARGS)

test: $(READY)  ## the whole test suite, doctests included
	$(BIN)/pytest -n 2 --cov --cov-fail-under=95 $(ARGS)

test-oldest test-newest: test-%:  ## the test suite with the oldest versions that setup.cfg admits, or the newest
	PYTHON=$(PYTHON) .ci/versions $* $(ARGS)

test-gpu: $(READY)  ## the promises on one GPU
	SEAL_TEST_ACCELERATOR=gpu $(BIN)/pytest -m gpu $(ARGS)

wheel: $(READY)  ## sdist and wheel, and the README run from the wheel alone
	PYTHON=$(PYTHON) .ci/wheel

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY)
	$(BIN)/mypy

docs: $(READY)  ## the documentation site, in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(READY)  ## what a SEAL step costs
	$(BIN)/python -m benchmarks.step $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache runs

$(READY): setup.cfg .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Expected Python 3.11 or newer; name another with: make PYTHON=python3.12")'
	@echo "Setting up .venv: 1.8 GB with a CPU build of PyTorch; a build with CUDA, which PyPI has for Linux, is several GB more."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	@touch $@
