# Everything starts here: `make demo` to see it, `make up` to use it, `make check` before a commit.
# Settings are environment variables; .env.example lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV ?= .venv
# More than 0 spreads the tests over so many processes.
PYTEST_WORKERS ?= 0
PYTEST_ARGS ?=
PY := $(VENV)/bin/python
# A stamp for each state of a lock file: after a change the next command installs it.
INSTALLED := $(VENV)/.installed-$(shell cksum < requirements.txt | tr -d ' ')
INSTALLED_DEV := $(VENV)/.installed-dev-$(shell cat requirements.txt requirements-dev.txt | cksum | tr -d ' ')
PIP_INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes
export PYTHONUNBUFFERED := 1

.PHONY: help venv venv-dev demo up test check lint ruff types imports templates migrations settings bench browser

help:
	@echo "make demo    everything with a believable history and live traffic (STORY=loop: something goes wrong at once)"
	@echo "make up      everything, empty, for your own agents"
	@echo "make test    all tests"
	@echo "make check   lint, types, import contracts, templates, migrations, settings, all tests"
	@echo "make bench   the benchmarks"

venv: $(INSTALLED)
venv-dev: $(INSTALLED_DEV)

$(PY):
	@python=; for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then echo "Python 3.11 or later is needed (PYTHON=/path/to/python make ... to name one)." >&2; exit 1; fi; \
	echo "Making $(VENV) with $$("$$python" --version) ..."; "$$python" -m venv $(VENV)

$(INSTALLED): requirements.txt | $(PY)
	@echo "Installing the locked dependencies ..."
	@$(PIP_INSTALL) -r requirements.txt
	@rm -f $(VENV)/.installed-[0-9]* && touch $@

$(INSTALLED_DEV): requirements.txt requirements-dev.txt | $(PY)
	@echo "Installing the locked dependencies and the tools ..."
	@$(PIP_INSTALL) -r requirements-dev.txt
	@rm -f $(VENV)/.installed-* && touch $(INSTALLED) $@

# STORY=loop: two agents begin to ask each other for clarification at once, not only after some minutes; quiet: never.
demo: venv
	@exec $(PY) manage.py up --demo $(if $(STORY),--story "$(STORY)")

up: venv
	@exec $(PY) manage.py up

# Found, or installed where apt and root allow. Without one the browser tests are skipped, or fail with CI=true.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing Chromium for the browser tests ..."; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null \
	  || echo "Chromium could not be installed." >&2; \
	else echo "NO BROWSER: install Chromium to run the browser tests; they are skipped now." >&2; fi

test: venv-dev browser
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

# One target each, so that `make -k` shows everything that is wrong.
lint: ruff types imports templates migrations settings

ruff: venv-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: venv-dev
	$(VENV)/bin/mypy

imports: venv-dev
	$(VENV)/bin/lint-imports

# As they lie there, committed or not.
templates: venv-dev
	git ls-files -z --cached --others --exclude-standard -- 'templates/*.html' \
	  | xargs -0 $(VENV)/bin/djade --check --target-version 5.2

migrations: venv-dev
	$(PY) manage.py makemigrations --check --dry-run

settings: venv-dev
	AGENTOPS_HTTPS=1 $(PY) manage.py check --deploy --fail-level WARNING

check: lint test

bench: venv-dev
	$(PY) -m bench $(BENCH_ARGS)
