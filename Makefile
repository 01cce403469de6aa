# For GNU make 3.81 (what macOS brings) and newer. No target needs root.

CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP_INSTALL := -m pip --disable-pip-version-check install -qq --constraint constraints.txt

# In variables, because make would take the commas and parentheses for its own.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ABLE := import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 11))
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

# Version of the environment that is there already; empty when it is missing or its interpreter is gone.
HAVE := $(shell $(RUN) -c '$(VERSION)' 2>/dev/null)

# `make PYTHON=…` decides. Otherwise an environment once made is kept, and a new one takes the first
# candidate that really runs: the name alone may be a shim for a version that is not there.
ifdef PYTHON
WANT := $(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)
else
override PYTHON := $(shell for p in $(CANDIDATES); do if $$p -c '$(ABLE)' >/dev/null 2>&1; then echo $$p; break; fi; done)
WANT := $(HAVE)
ifeq ($(WANT),)
WANT := $(shell $(or $(PYTHON),false) -c '$(VERSION)' 2>/dev/null)
endif
endif

# The core is tested on 3.13 too when it is there. A version manager's shim may refuse a version that is
# installed but not switched on; the version itself then lies beside the folder of the shims.
ifneq ($(WANT),3.13)
FIND_313 := for p in python3.13 "$$(dirname "$$(command -v python3.13)")"/../versions/3.13*/bin/python3.13; \
  do if "$$p" -c '$(ABLE)' >/dev/null 2>&1; then echo "$$p"; break; fi; done
PYTHON313 := $(shell $(FIND_313))
ifneq ($(PYTHON313),)
SECOND := .venv-3.13
endif
endif

SOURCES := $(shell find app tests benchmarks docs -type f ! -name '*.pyc' 2>/dev/null)

# An interrupted pip or pytest must not leave a stamp that claims it had finished.
.DELETE_ON_ERROR:
.PHONY: help serve test check lint coverage bench bench-long bench-smoke bench-core bench-claims \
  bench-dashboard screenshots clean python constraints FORCE

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

serve: $(VENV)/.serve ## Install into .venv and start the service on 127.0.0.1:8000
	@exec $(RUN) -m app serve

test: $(VENV)/.test $(if $(SECOND),$(SECOND)/.core) ## Run all tests, and the core's on Python 3.13 too
ifneq ($(WANT),3.13)
ifndef SECOND
	@echo "Left out: the core's tests on Python 3.13, because no python3.13 that runs was found."
endif
endif
	$(run_tests)
ifdef SECOND
	@echo "The core's tests on Python 3.13:"
	@$(SECOND)/bin/python -m pytest -q -n auto -p no:cacheprovider tests/core
endif

check: lint coverage ## Lint, format, types, and full branch coverage of app/core and app/jobs

lint: $(VENV)/.dev
	@$(RUN) -m ruff check --quiet
	@$(RUN) -m ruff format --quiet --check || { echo "To format them: $(RUN) -m ruff format"; exit 1; }
	@$(RUN) -m mypy

coverage: $(VENV)/.passed
	@$(RUN) -m coverage report --include='app/core/*,app/jobs/*' --fail-under=100

bench: $(VENV)/.bench ## Measure the service against its peers; writes benchmarks/service.md and .png
	@$(RUN) -m benchmarks.service --write benchmarks

bench-long: $(VENV)/.bench ## Measure the service after a million jobs; writes benchmarks/long.md and .png
	@$(RUN) -m benchmarks.long --write benchmarks

bench-smoke: $(VENV)/.bench ## Run everything that is measured once, to see that it still runs
	@echo 'Small runs: they show that each row can be measured, and their figures mean nothing.'
	@$(RUN) -m benchmarks.service --quick --write $(VENV)
	@$(RUN) -m benchmarks.long --quick --write $(VENV)
	@echo "All of it ran. In runs so small, no figure and no 'met' above means anything."

bench-core: $(VENV)/.serve ## Measure the core against the standard library
	@$(RUN) -m benchmarks.core

bench-claims: $(VENV)/.serve ## Measure a claim beside hundreds of thousands of jobs that wait
	@$(RUN) -m benchmarks.claims

bench-dashboard: $(VENV)/.test ## Measure the dashboard in Chromium, beside a hundred thousand jobs
	@$(RUN) -m benchmarks.dashboard --write benchmarks

screenshots: $(VENV)/.test $(VENV)/.bench ## Take the README's pictures of the dashboard, in Chromium
	@$(RUN) -m docs.screenshots

clean: ## Remove the environments and everything the tools wrote; databases stay
	@rm -rf .venv .venv-3.13 .venv-constraints build dist htmlcov .coverage .coverage.* \
	  .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find app tests benchmarks docs -type d -name __pycache__ -prune -exec rm -rf {} +

python: ## Say which Python is used, or what is missing
	@$(require_python)
	@echo "$(PYTHON): Python $$($(PYTHON) -c '$(VERSION)')"

# On the oldest supported Python, because only there every backport is asked for.
constraints: ## Pin today's releases in constraints.txt (needs python3.11)
	@rm -rf .venv-constraints
	@python3.11 -m venv .venv-constraints
	@.venv-constraints/bin/python -m pip --disable-pip-version-check install -qq '.[dev,bench,postgres]'
	@.venv-constraints/bin/python -m pip freeze --exclude errand-jobs > .venv-constraints/frozen
	@{ sed '/^#/!d' constraints.txt; \
	  awk -F == '{ name = tolower($$1); gsub("_", "-", name); print name "==" $$2 }' \
	  .venv-constraints/frozen | LC_ALL=C sort; } > .venv-constraints/new
	@mv .venv-constraints/new constraints.txt
	@rm -rf .venv-constraints

# One pass over everything. The stamp bears the time of the start: a file saved meanwhile is newer than it.
# What pytest's workers leave at their very end, when all is combined, holds nothing that was not counted.
define run_tests
@rm -f .coverage .coverage.* $(VENV)/.passed && touch $(VENV)/.started
@$(RUN) -m pytest -q -n auto --cov=app --cov-report= tests
@rm -f .coverage.*
@mv $(VENV)/.started $(VENV)/.passed
endef

# `make check` right after `make test` counts what that run covered; after an edit it runs the tests again.
$(VENV)/.passed: $(SOURCES) pyproject.toml | $(VENV)/.test
	$(run_tests)

$(VENV)/.serve: EXTRA :=
$(VENV)/.test: EXTRA := [test]
$(VENV)/.dev: EXTRA := [dev]
$(VENV)/.bench: EXTRA := [bench]
$(VENV)/.serve $(VENV)/.test $(VENV)/.dev $(VENV)/.bench: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing errand-jobs$(EXTRA) into $(VENV)"
	@$(RUN) $(PIP_INSTALL) --editable '.$(EXTRA)'
	@touch $@

# Other requirements than the package's own: the core needs the standard library only, and this shows it.
.venv-3.13/.core: constraints.txt
	@echo "Preparing .venv-3.13"
	@rm -rf .venv-3.13
	@"$(PYTHON313)" -m venv .venv-3.13
	@.venv-3.13/bin/python $(PIP_INSTALL) pytest pytest-timeout pytest-xdist hypothesis
	@touch $@

# Made anew when its interpreter is gone or PYTHON names another version.
ifneq ($(HAVE),$(WANT))
$(VENV)/.made: FORCE
endif
ifeq ($(HAVE),)
$(VENV)/.made: FORCE
endif
$(VENV)/.made:
	@$(require_python)
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

SEARCHED := $(if $(PYTHON),$(PYTHON),$(CANDIDATES))
define require_python
for p in $(SEARCHED); do \
  if $$p -c '$(ABLE)' >/dev/null 2>&1; then exit 0; fi; \
done; \
for p in $(SEARCHED); do \
  if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then \
    v=$$($$p -c '$(VERSION)'); \
    echo "$$p is Python $$v, but its modules venv and ensurepip are missing. To install them:"; \
    echo "  Debian, Ubuntu:  sudo apt-get install python$$v-venv"; \
    echo "  macOS:           brew install python@$$v"; \
    exit 1; \
  fi; \
done >&2; \
{ echo "Python 3.11 or newer is needed, and none that runs was found. Looked for: $(SEARCHED)"; \
  echo "  Debian, Ubuntu:  sudo apt-get install python3 python3-venv"; \
  echo "  macOS:           brew install python@3.13"; } >&2; \
exit 1
endef
