# The two commands of a fresh machine are `make reproduce` and `make test`; `make lab` opens the notebooks.
PYTHON ?= python3
SIZE ?= tiny
GPUS ?= 0
NAME ?= $(SIZE)
DATA ?= embedded
JOBS ?= 2
STUDY ?= preregistered
BIN := .venv/bin

.PHONY: help .venv reproduce test slow lint lab results readme docs package

help:
	@echo "make reproduce   the whole study, offline, on this machine (SIZE=$(SIZE) NAME=$(NAME) DATA=$(DATA) JOBS=$(JOBS) GPUS=$(GPUS); also SEEDS=, TASKS=, STEPS=, EXAMPLES=, EPOCHS=, CONTROLS=1)"
	@echo "make .venv       the environment alone (PYTHON=$(PYTHON); Python 3.11 to 3.13)"
	@echo "make test        nbdev_test and the checks of the repository"
	@echo "make slow        tests that take longer: runs that are killed and go on, the examples (about three minutes)"
	@echo "make lint        layout, rules, types, levels of the package (ruff, pyrefly, .ci/floors.py)"
	@echo "make lab         JupyterLab at nbs/"
	@echo "make results     tables, figures and README of a published study again, from its records in figures/ (STUDY=$(STUDY))"
	@echo "make docs        the docs site, in _site/"
	@echo "make package     sdist and wheel in dist/, tried in a new environment"

.venv: .venv/installed

.venv/installed: settings.ini setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,grid,docs]'
	touch $@

reproduce: .venv
	$(BIN)/codesign reproduce --size $(SIZE) --study $(NAME) --data $(DATA) --jobs $(JOBS) --gpus $(GPUS) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(TASKS),--tasks $(TASKS)) $(if $(STEPS),--steps $(STEPS)) $(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(CONTROLS),--controls)

test: .venv
	$(BIN)/python .ci/checks.py

slow: .venv
	$(BIN)/python .ci/slow.py
	$(BIN)/python .ci/examples.py

lint: .venv
	$(BIN)/ruff check nbs codesign .ci benchmarks fuzz examples setup.py
	$(BIN)/ruff format --check nbs .ci benchmarks fuzz examples setup.py
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python
	$(BIN)/python .ci/floors.py

lab: .venv
	$(BIN)/jupyter lab --notebook-dir nbs

results: .venv
	$(BIN)/codesign publish --study $(STUDY) --again
	$(BIN)/python .ci/readme.py

readme: .venv
	$(BIN)/python .ci/readme.py

docs: .venv
	$(BIN)/python .ci/docs.py

package: .venv
	$(BIN)/python .ci/package.py
