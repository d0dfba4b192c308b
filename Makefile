# make demo: a small depth study on real images, and its report. make test: everything that must hold.
# Both do all their own set-up (make setup): a virtual environment from the pinned requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKDIR ?= runs

.PHONY: demo test test-install test-slurm faults published-nets report setup lint lock clean

demo: setup
	$(BIN)/python -m resjax.main --config experiments/quickstart.py --workdir $(WORKDIR)

# A file's tests stay on one core, which then makes what they share once. A process that dies is not replaced: its
# successor can wait for ever for tests that are not given out again.
test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --durations=15

# Each extra in a virtual environment of its own, and a wheel in an empty folder; ENVIRONMENTS="train wheel" names some.
test-install:
	$(PYTHON) tests/install.py $(ENVIRONMENTS)

# Runs on a Slurm of two nodes on this machine, which it installs (Debian, as root) and starts.
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

# Every fault a machine can have, tried many times: TIMES=100 takes an hour or more.
TIMES ?= 100
faults: setup
	$(BIN)/python -m tests.faults --times $(TIMES)

# Public nets that were trained to the end, studied: WEIGHTS and DATA are folders. Needs the extra torch.
WEIGHTS ?= data/weights
DATA ?= data/cifar10
published-nets: setup
	PYTHON=$(BIN)/python experiments/published_nets.sh $(WEIGHTS) $(DATA) results

# The pages, tables and figures of results/ and the README's table, from the runs' logs alone.
report: setup
	$(BIN)/python -m resjax.report results --readme README.md results/README.md
