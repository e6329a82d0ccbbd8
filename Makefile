# `make demo` and `make test` install what is missing first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
EXTRAS ?= dev
INSTALL ?= $(BIN)/python -m pip install --quiet
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: install demo test check lint audit mutants train serve clean
.DELETE_ON_ERROR:

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else f"Python 3.11, 3.12 or 3.13 is needed, found {sys.version.split()[0]} ($(PYTHON)). Name one: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[$(EXTRAS)]' --constraint constraints.txt
	touch $@

install: $(INSTALLED)

demo: $(INSTALLED) ## once from the sample site to a forecast: PostgreSQL, training, .mar, TorchServe
	$(BIN)/python scripts/demo.py

test: $(INSTALLED) ## one worker for each core; make test PYTEST_ARGS='-n 0 tests/test_panel.py' runs without workers
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

check: lint ## before each commit, in under a minute: lint, types, and the tests that start no server
	$(BIN)/python -m pytest -q -m fast $(PARALLEL) $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(INSTALLED) ## known advisories of what is installed
	$(BIN)/python scripts/audit.py

mutants: $(INSTALLED) ## small mistakes made on purpose in the pure modules: do their tests notice? (an hour)
	$(BIN)/python -m pip install --quiet --editable '.[dev,mutants]' --constraint constraints.txt
	$(BIN)/python scripts/mutants.py $(ARGS)

train: $(INSTALLED)
	$(BIN)/python scripts/train.py $(ARGS)

serve: $(INSTALLED)
	$(BIN)/python scripts/serve.py $(ARGS)

clean: ## the virtual environment and caches; versions in model_store/ and the database stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
