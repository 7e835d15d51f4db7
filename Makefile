# make demo: what gradscope does, on a real program. make test: everything that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
MXNET := .venv-mxnet
WORKERS ?= 2

.PHONY: demo test fast lint corpus test-mxnet bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first, by its pinned version: a range would fetch gigabytes of CUDA
$(VENV)/run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch==2.13.0 numpy
	$(PIP) -e '.[torch]'
	touch $@

$(VENV)/dev: $(VENV)/run
	$(PIP) -e '.[all,dev,corpus]'
	touch $@

demo: $(VENV)/run
	$(BIN)/gradscope check examples/deep_sigmoid.py --quiet || true
	@echo
	$(BIN)/gradscope check examples/deep_relu.py --quiet

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fast: $(VENV)/dev
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not corpus"

corpus: $(VENV)/dev
	$(BIN)/python -m pytest -q -m corpus -s tests/corpus

test: lint
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not corpus"
	$(BIN)/python -m pytest -q -m corpus -s tests/corpus
	$(MAKE) test-mxnet

# MXNet 1.9 needs a numpy that the others have left behind: its own environment, where the core is tested as well.
# Left out: test_readme.py needs torch; numpy before 1.24 makes an array of objects of an irregular list, and so refuses
# it in other words.
$(MXNET)/run: pyproject.toml constraints-mxnet.txt
	$(PYTHON) -m venv $(MXNET)
	$(MXNET)/bin/pip install --quiet --disable-pip-version-check -c constraints-mxnet.txt \
		-e '.[mxnet]' pytest pytest-timeout pytest-xdist
	touch $@

test-mxnet: $(MXNET)/run
	$(MXNET)/bin/python -m pytest -q -n $(WORKERS) tests/adapters/mxnet tests/examples tests/rules tests/reporters tests/test_*.py \
		--ignore tests/test_readme.py --deselect tests/test_arrays.py::test_arrays_must_be_regular

bench: $(VENV)/dev
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/overhead.py --framework tensorflow
	$(BIN)/python benchmarks/overhead.py --framework jax
	$(BIN)/python benchmarks/judging.py
	$(BIN)/python benchmarks/remedies.py

clean:
	rm -rf $(VENV) $(MXNET) .pytest_cache .mypy_cache .ruff_cache
