# make demo: a small depth study on real images, with its report. make test: lint, types and all tests.
# Both create the virtual environment from the pinned requirements first (make setup).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKDIR ?= runs

.PHONY: demo test test-install test-slurm faults published-nets report setup lint lock clean

demo: setup
	$(BIN)/python -m resjax.main --config experiments/quickstart.py --workdir $(WORKDIR)

# The tests of a file run in one process and share its fixtures. A worker that dies is not replaced: its successor could
# wait forever for tests that are not assigned again.
test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --durations=15

# Installs each extra in a virtual environment of its own, and a wheel; ENVIRONMENTS="train wheel" selects some.
test-install:
	$(PYTHON) tests/install.py $(ENVIRONMENTS)

# Installs and starts a Slurm of two nodes on this machine (Debian, as root) and runs jobs on it.
test-slurm: setup
	tests/slurm/install.sh
	RESJAX_SLURM=1 $(BIN)/python -m pytest -n 0 -s tests/slurm

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and f"resjax needs Python 3.11 to 3.13, not {sys.version.split()[0]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --requirement requirements.txt
	touch $@

# After a change of pyproject.toml; needs uv.
lock:
	uv lock
	uv export --quiet --extra dev --no-hashes --no-emit-project --output-file requirements.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# Injects every kind of fault into short runs, TIMES times each: 100 takes an hour or more.
TIMES ?= 100
faults: setup
	$(BIN)/python -m tests.faults --times $(TIMES)

# Studies of published, fully trained networks: WEIGHTS and DATA are folders. Needs the extra torch.
WEIGHTS ?= data/weights
DATA ?= data/cifar10
published-nets: setup
	PYTHON=$(BIN)/python experiments/published_nets.sh $(WEIGHTS) $(DATA) $(WORKDIR)

# Rebuilds from the logs alone: pages, tables and figures of results/, and the generated parts of its Markdown files and the README.
report: setup
	$(BIN)/python -m resjax.report results --readme README.md results/README.md results/*/README.md
