# make run       train; make run ARGS="pde=burgers method=adam" takes any override
# make test      the tests but the slow ones, by two workers; make test TEST_ARGS="tests/test_ntk.py" takes any option of pytest
# make test-all  all tests
# make lint      style and types
# make docs      the documentation site, into build/site
# make install   what a run needs: the environment VENV, made with PYTHON
# make tools     what tests and lint need besides; they install it themselves
PYTHON = python3
VENV = .venv
ARGS = pde=heat2d method=pcpinn
# Two workers, each on one thread; one that is done takes tests over from the other.
WORKERS = -n 2 --dist worksteal
TEST_ARGS =

python = $(VENV)/bin/python
# Python compiles what it imports anyway: pip, which compiles every file, would take more than twice as long.
pip = $(python) -m pip install --disable-pip-version-check --no-compile
installed = $(VENV)/.installed
tools = $(VENV)/.tools

.PHONY: install tools run test test-all lint docs clean

install: $(installed)

tools: $(tools)

# Redone when one of these files has changed.
$(installed): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "PYTHON=$(PYTHON): not found; needed is Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit("PYTHON=$(PYTHON) is Python " + v + "; needed is 3.11 or newer, as in: make install PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(pip) -r requirements.lock
	$(pip) --no-deps --no-build-isolation -e .
	touch $@

$(tools): $(installed) requirements-dev.lock
	$(pip) -r requirements.lock -r requirements-dev.lock
	touch $@

run: install
	$(python) train.py $(ARGS)

test: tools
	OMP_NUM_THREADS=1 $(python) -m pytest $(WORKERS) $(TEST_ARGS)

test-all: tools
	OMP_NUM_THREADS=1 $(python) -m pytest $(WORKERS) -m "" $(TEST_ARGS)

lint: tools
	$(python) -m ruff check
	$(python) -m ruff format --check
	mkdir -p build/mypy/pinntk
	ln -sfn ../../../callbacks build/mypy/pinntk/callbacks
	$(python) -m mypy

docs: tools
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --strict

# Not runs/: results are yours to delete.
clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
