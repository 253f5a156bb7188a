# The verbs of this repository; `make help` lists them. They need Python 3.11 or later with venv.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e

# CI has everything that a test can ask for; a person's machine skips, with a reason, what it lacks.
ifeq ($(CI),true)
TESTABLE := $(VENV)/.installed-all
else
TESTABLE := $(VENV)/.installed-dev
endif

# Tests start hundreds of processes: each would compile all that it imports (four seconds, and memory with it).
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help test demo bench evaluate recall story faithful secrets servers image image-test lint provision constraints clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Each process starts the servers that its tests ask for (about 2 GB with all of them).
PROCESSES ?= 2

test: $(TESTABLE) provision lint ## check the code and run all tests (ARGS="-k loki" goes to pytest)
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile $(ARGS)

demo: $(VENV)/.installed ## see it work, with no server and nothing to configure
	$(BIN)/log-anomaly-exporter demo $(ARGS)

bench: $(TESTABLE) ## measure speed and memory
	$(BIN)/python -m tests.bench $(ARGS)

evaluate: $(TESTABLE) ## measure detection on labelled logs, and delivery while places fail
	$(BIN)/python -m tests.evaluate $(ARGS)

recall: $(TESTABLE) ## measure how past incidents are recalled (LAE_OLD_CHECKOUT=DIR measures that beside it)
	$(BIN)/python -m tests.evaluate recall

story: $(TESTABLE) ## measure what is told of failures (LAE_OLD_CHECKOUT=DIR tells that beside it)
	$(BIN)/python -m tests.evaluate story

faithful: $(TESTABLE) ## try answers of models, true and false, in every place (LAE_OLD_CHECKOUT=DIR beside it)
	$(BIN)/python -m tests.evaluate faithful

secrets: $(TESTABLE) ## plant secrets in a whole daemon, and look for them in all that leaves it
	$(BIN)/python -m tests.evaluate secrets

servers: $(TESTABLE) ## build all test servers, the slow one too (about three minutes, once)
	$(BIN)/python -m tests.servers build $(ARGS)

image: ## build the image with docker, podman or buildah, whichever is there
	$(PYTHON) -m tests.image build

image-test: ## build it, and run it as another user with a read-only root
	$(PYTHON) -m tests.image test

lint: $(TESTABLE) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A person's quick servers are built by the test run itself, and the slow one on request.
provision: $(TESTABLE)
ifeq ($(CI),true)
	-$(BIN)/python -m tests.servers build
endif

constraints: $(BIN)/uv ## choose the newest versions that pyproject.toml allows, with the hashes of their files
	printf 'setuptools>=77\nuv\n' | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--no-header --no-annotate --all-extras --group dev --group model --generate-hashes \
		-o constraints.txt pyproject.toml -

clean: ## remove the environment and what tools left behind; the servers stay in the user's cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/uv:
	$(if $(PYTHON),,$(error Python 3.11 or later with venv is missing (Debian: apt-get install python3-venv)))
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	# pip wants a requirement where it is to compare hashes; uv itself takes them from constraints.
	sed -n '/^uv==/,/[^\]$$/p' constraints.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(VENV)/uv.txt

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) . --group dev
	touch $@ $(VENV)/.installed

$(VENV)/.installed-all: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) '.[embeddings]' --group dev --group model
	touch $@ $(VENV)/.installed-dev $(VENV)/.installed
