# make run       train; make run ARGS="pde=burgers method=adam" takes any override
# make test      the tests but the slow ones, by two workers; make test TEST_ARGS="tests/test_ntk.py" takes any option of pytest
# make test-all  all tests
# make lint      style and types
# make install   what they have in common: the environment VENV, made with PYTHON
PYTHON = python3
VENV = .venv
ARGS = pde=heat2d method=pcpinn
# Two workers, each on one thread; one that is done takes tests over from the other.
WORKERS = -n 2 --dist worksteal
TEST_ARGS =

python = $(VENV)/bin/python
installed = $(VENV)/.installed

.PHONY: install run test test-all lint clean

install: $(installed)

# Redone when one of these files has changed.
$(installed): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "PYTHON=$(PYTHON): not found; needed is Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit("PYTHON=$(PYTHON) is Python " + v + "; needed is 3.11 or newer, as in: make install PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(python) -m pip install --disable-pip-version-check -r requirements.lock
	$(python) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: install
	$(python) train.py $(ARGS)

test: install
	OMP_NUM_THREADS=1 $(python) -m pytest $(WORKERS) $(TEST_ARGS)

test-all: install
	OMP_NUM_THREADS=1 $(python) -m pytest $(WORKERS) -m "" $(TEST_ARGS)

lint: install
	$(python) -m ruff check
	$(python) -m ruff format --check
	mkdir -p build/mypy/pinntk
	ln -sfn ../../../callbacks build/mypy/pinntk/callbacks
	$(python) -m mypy

# Not runs/: results are yours to delete.
clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
