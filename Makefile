# Everything from nothing but Python 3.11 or later and make: `make help`.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The first Python that is new enough; `make PYTHON=/path/to/python3` names another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v "$$name" && break; done)

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test check simulate torture demo bench bench-growth lock clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Set up .venv with what the service needs, as locked
install-dev: $(VENV)/.installed-dev ## The same, with the tools that test and check

run: install ## Run everything on http://127.0.0.1:8000, until Ctrl-C
	@exec $(BIN)/creditledger up

# As many tests at a time as there are cores, up to four; each process has its own PostgreSQL, and
# the order of the files stays, as the long ones come first.
SHARING := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: install-dev ## Run the whole suite: what can share the machine, then what needs it alone
	@echo "=== Tests that share the machine"; \
	$(BIN)/pytest $(SHARING) -m "not alone"; shared=$$?; \
	echo "=== Tests that need the machine for themselves"; \
	$(BIN)/pytest -m alone; alone=$$?; \
	[ $$shared = 0 ] || echo "Of the tests that share the machine, some FAILED: see above"; \
	exit $$((shared || alone))

check: install-dev ## Lint, types, import contracts and the fast tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(SHARING) -m "not slow" tests/unit tests/architecture

SEEDS ?= 1000

simulate: install-dev ## Play seeded faults: SEEDS=1000 of them, or SEED=… once more
	@PYTHONPATH=tests/unit exec $(BIN)/python tests/simulation/many_seeds.py \
		--seeds $(SEEDS) $(if $(FIRST),--first $(FIRST)) $(if $(SEED),--seed $(SEED))

MINUTES ?= 10

torture: install-dev ## Kill everything at random under load, for MINUTES=10
	@PYTHONPATH=tests/unit exec $(BIN)/python tests/acceptance/torture.py \
		--minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

demo: install-dev ## Play the demo against the running service; KAFKA=1: on a Kafka, all by itself
ifdef KAFKA
	@PYTHONPATH=tests/unit exec $(BIN)/python examples/demo_on_kafka.py
else
	@secrets="$$($(BIN)/creditledger sandbox)" && set -a && eval "$$secrets" && set +a \
	&& exec $(BIN)/python examples/demo.py
endif

bench: install-dev ## Measure, as ratios to a yardstick on the same PostgreSQL
	@PYTHONPATH=tests/unit:tests/simulation:tests/acceptance exec $(BIN)/python bench/run.py

bench-growth: install-dev ## Measure how cost grows with what grows
	@exec $(BIN)/python bench/growth.py

lock: ## Lock the newest dependencies that fit pyproject.toml (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" \
		pyproject.toml --group build --output-file requirements.lock
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --constraint requirements.lock \
		pyproject.toml --group build --extra dev --output-file requirements-dev.lock

clean: ## Remove what was set up; data stays
	rm -rf $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; make PYTHON=/path/to/it" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Adding what tests and checks need …"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@
