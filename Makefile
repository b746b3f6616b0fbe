# What a newcomer runs, on a machine with make and Python 3.11 or newer. Everything lands in .venv and dist; the
# packages are always used from an installed wheel, never from this folder.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# More arguments for the command or for pytest: make demo ARGS=--help, make test ARGS="-k goose"
ARGS ?=
# What the offline bundle brings along besides the base install; mms is GPL-3.0, and so is a bundle with it.
EXTRAS ?= demo,mms

VENV := .venv
# -P, and its inherited form below: the current folder is not on the import path.
PY := $(VENV)/bin/python -P
PIP := $(PY) -m pip -qq --disable-pip-version-check
WHEEL := dist/.built
# Folders too, so that a deleted file counts as a change.
SOURCES := $(shell find gateway ied_agents scl tools -name __pycache__ -prune -o -print)
# command:Debian packages that have it, with what it needs, for the tests
TEST_PROGRAMS := tshark:tshark ip:iproute2 setpriv:util-linux gcc:gcc,libc6-dev systemd-analyze:systemd \
	pg_lsclusters:postgresql mosquitto:mosquitto

export PYTHONSAFEPATH := 1
export PIP_ROOT_USER_ACTION := ignore
export DEBIAN_FRONTEND := noninteractive

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test lint wheel bundle programs clean

help:
	@echo 'make demo   ten agents heal a faulted feeder over GOOSE on a virtual Ethernet (ARGS=--help: options)'
	@echo 'make test   all tests, against the built wheel (ARGS: pytest arguments)'
	@echo 'make lint   style, types and import contracts'
	@echo 'make wheel  the wheel, in dist/'
	@echo 'make bundle all wheels and an installer for a machine without a network, in dist/ (EXTRAS)'
	@echo 'make clean  remove what these made'

demo: $(VENV)/demo.installed
	@$(VENV)/bin/flisr demo $(ARGS)

# The tests run on a copy in an empty folder: nothing of this one can be imported by accident.
test: $(VENV)/test.installed programs
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && cp -r pyproject.toml tests docs "$$copy" && \
	python=$$PWD/$(VENV)/bin/python && corpus=$$PWD/../shared/corpus && \
	cd "$$copy" && FLISR_CORPUS="$${FLISR_CORPUS:-$$corpus}" "$$python" -P -m pytest $(ARGS)

lint: $(VENV)/test.installed
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

wheel: $(WHEEL)
	@ls dist/*.whl

bundle: $(WHEEL)
	@rm -rf dist/flisr-bundle && mkdir -p dist/flisr-bundle/wheels
	@$(PIP) download --only-binary=:all: --dest dist/flisr-bundle/wheels "$$(echo dist/flisr-*.whl)[$(EXTRAS)]"
	@cp packaging/install.sh LICENSE dist/flisr-bundle && echo '$(EXTRAS)' > dist/flisr-bundle/extras
	@tar -C dist -czf dist/flisr-bundle.tar.gz flisr-bundle
	@ls dist/flisr-bundle.tar.gz

clean:
	rm -rf $(VENV) dist demo-out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# A venv of unknown make or age is emptied: only the stamp says that it is ours and fits pyproject.toml.
$(VENV)/made: pyproject.toml
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'flisr needs Python 3.11 or newer; set PYTHON=/path/to/it' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null; \
	} || { echo '$(PYTHON) lacks venv: install it, on Debian and Ubuntu with apt-get install python3-venv' >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear $(VENV)
	@touch $@

$(WHEEL): $(VENV)/made README.md LICENSE $(SOURCES)
	@rm -rf dist
	@$(PIP) wheel --no-deps --wheel-dir dist .
	@touch $@

# pip keeps an installed version that has the same number as the wheel, so that goes first.
$(VENV)/%.installed: $(WHEEL)
	@$(PIP) uninstall --yes flisr 2>/dev/null
	@$(PIP) install "$$(echo dist/flisr-*.whl)[$*]"
	@touch $@

# Missing ones are no error here: the tests that need them say so, and fail where CI=true.
programs:
	@missing=; for pair in $(TEST_PROGRAMS); do \
		command -v "$${pair%%:*}" >/dev/null || missing="$$missing $$(echo "$${pair#*:}" | tr , ' ')"; done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null; } || \
		echo "apt-get could not install:$$missing" >&2; \
	else echo "some tests need these Debian packages:$$missing" >&2; fi
