# Every target sets up what it needs: the first call makes .venv, later calls find it ready.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.stamp
PEERS := .venv-peers/.stamp

# without compiled bytecode every start costs seconds; idle threads that spin starve the busy ones
unexport PYTHONDONTWRITEBYTECODE
export OMP_WAIT_POLICY := PASSIVE
export ATTRIBUTOME_DATA ?= ../shared/data

# on two cores a second thread that waits passively costs more than it gives, and one that spins
# starves beside any other process
FEW := $(shell [ "$$(getconf _NPROCESSORS_ONLN)" -le 2 ] && echo OMP_NUM_THREADS=1)

# two workers, so one thread each; whoever is done takes tests from the other
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

.PHONY: help demo test check format format-check lint types contracts docs bench bench-peers forms planted \
  real-jump real-jump-studies real-blood real-mirna real-yeast real-camo slow real browser clean
.DEFAULT_GOAL := help

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## explain a planted in silico labelling model, end to end, into runs/demo
	$(FEW) $(BIN)/attributome demo

test: $(READY) ## run the tests
	$(PYTEST)

check: format-check lint types contracts test docs ## everything that must be green before a commit

format: $(READY) ## bring the code into its form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

format-check: $(READY) ## is the code in its form?
	$(BIN)/ruff format --check .

lint: $(READY) ## look for mistakes and bad habits
	$(BIN)/ruff check .

types: $(READY) ## check the types
	$(BIN)/mypy

contracts: $(READY) ## check who may import whom
	$(BIN)/lint-imports

docs: $(READY) ## build the documentation into site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY) ## measure speed and memory, into benchmarks/results.json
	$(FEW) $(BIN)/python benchmarks/run.py

forms: $(READY) ## compare soft and hard forms of masks, into benchmarks/forms.json
	$(FEW) $(BIN)/python benchmarks/forms.py

real-jump: $(READY) ## the main job on real bright-field images, into runs/jump
	$(FEW) $(BIN)/python examples/real_jump.py

real-jump-studies: $(READY) ## every study of two virtual stainings of eight fields, into runs/studies
	OMP_NUM_THREADS=1 $(BIN)/python examples/real_jump_studies.py

real-blood: $(READY) ## what a classifier of blood cells uses: cell or background, into runs/blood
	$(FEW) $(BIN)/python examples/real_blood.py

planted: $(READY) ## which method to believe: the planted benchmark, into runs/planted
	$(FEW) $(BIN)/attributome benchmark planted

bench-peers: $(PEERS) ## measure us beside the peers, into benchmarks/peers.json
	$(FEW) .venv-peers/bin/python benchmarks/peers.py

real-mirna: $(PEERS) ## pairs of a miRNA and a site beside the upstream network and the peers, into runs/mirna
	$(FEW) .venv-peers/bin/python examples/real_mirna.py

real-yeast: $(READY) ## features of real yeast cells from pairs, beside untrained ones, into runs/yeast
	OMP_NUM_THREADS=1 $(BIN)/python examples/real_yeast.py

real-camo: $(READY) ## do classifiers look at the cell: planted plates, real volumes and fields, into runs/camo
	OMP_NUM_THREADS=1 $(BIN)/python examples/real_camo.py

slow: $(READY) ## run the tests that take minutes
	$(PYTEST) -m slow

real: $(READY) ## run the tests on the real data in ATTRIBUTOME_DATA
	$(PYTEST) -m real

browser: $(READY) ## run the tests that open a report in a Chromium
	$(PYTEST) -m browser

clean: ## remove what make has built; runs stay
	rm -rf .venv .venv-peers site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# PIP_CONSTRAINT also reaches the isolated build; newer versions of pip read the other name for that
$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv; the first time this takes minutes."
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  $(BIN)/pip install --quiet -c constraints.txt -e '.[dev,docs,codecs]'
	@if [ "$$CI" = true ]; then $(BIN)/python -c 'import torch; assert torch.version.cuda is None, \
	  f"CI wants the CPU build of torch and got {torch.__version__}"'; fi
	@touch $@

# the peers bring packages that our own environment does without, so they live in one of their own
$(PEERS): pyproject.toml constraints.txt benchmarks/peers.txt
	@echo "Setting up .venv-peers; the first time this takes minutes."
	$(PYTHON) -m venv .venv-peers
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  .venv-peers/bin/pip install --quiet -c constraints.txt -r benchmarks/peers.txt -e .
	.venv-peers/bin/pip install --quiet --no-deps complexcgr==0.8.0  # it asks for numpy 1, and runs with 2
	@touch $@
