# `make` lists the targets. All of them need python3 (3.11 or newer) and make, nothing else.

PYTHON ?= python3
# Each of them starts servers of its own and waits for them half of its time: five keep two cores busy.
TEST_WORKERS ?= 5
CHAOS_WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
DRILL_ARGS ?=
CHAOS_SECONDS ?= 300
CHAOS_SEED := $(or $(CHAOS_SEED),$(shell date +%s))

VENV := .venv/bin
SOURCES := $(wildcard services shared infra monitoring seed loadtest tests)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test e2e loadtest chaos lint format bench bench-api bench-metrics bench-clicks seed fire-drill docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

install: ## make .venv from the locked requirements (the other targets do it when needed)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "hoplink: $(PYTHON) is missing or older than 3.11; name another one: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@"$(PYTHON)" infra/install.py

run: install ## start everything on PORT (5001), data in DATA_DIR (.data); Ctrl-C stops it
	@exec $(VENV)/python -m infra.local

test: install ## run all tests against a real PostgreSQL, Valkey and nginx
	@$(VENV)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup $(PYTEST_ARGS)

e2e: install ## try what users see of the Hoplink at BASE_URL (http://localhost:5001)
	@E2E_URL="$(or $(BASE_URL),http://localhost:5001)" $(VENV)/python -m pytest tests/e2e/test_site.py $(PYTEST_ARGS)

chaos: install ## look for failures at random, CHAOS_SECONDS (300) a test, from CHAOS_SEED (a new one)
	@echo "CHAOS_SEED=$(CHAOS_SEED)"
	@CHAOS_SECONDS="$(CHAOS_SECONDS)" CHAOS_SEED="$(CHAOS_SEED)" $(VENV)/python -m pytest \
		-n $(CHAOS_WORKERS) -rP --randomly-seed="$(CHAOS_SEED)" --hypothesis-seed="$(CHAOS_SEED)" \
		tests/faults tests/integration/test_coherence.py $(PYTEST_ARGS)

lint: install ## check style, types and which package may import which
	@$(VENV)/python -m ruff check
	@$(VENV)/python -m ruff format --check
	@$(VENV)/python -m mypy $(SOURCES)
	@$(VENV)/lint-imports

format: install ## rewrite the code in the project's style
	@$(VENV)/python -m ruff check --fix
	@$(VENV)/python -m ruff format

bench: install ## measure redirects against nginx; needs wrk (BENCH_ARGS="--rounds 3 --cases local")
	@$(VENV)/python -m loadtest.redirect_bench $(BENCH_ARGS)

bench-clicks: install ## measure recording, counting and showing clicks (BENCH_ARGS="--parts record")
	@$(VENV)/python -m loadtest.click_bench $(BENCH_ARGS)

bench-metrics: install ## measure what metrics and the log cost both services; needs wrk
	@$(VENV)/python -m loadtest.metrics_bench $(BENCH_ARGS)

bench-api: install ## measure creating, importing and listing links (BENCH_ARGS="--rounds 3")
	@$(VENV)/python -m loadtest.api_bench $(BENCH_ARGS)

loadtest: install ## load HOST (http://localhost:5001) like SHAPE: smoke, ramp, soak, spike, hot
	@HOST="$(HOST)" SHAPE="$(SHAPE)" ALLOW_HOST="$(ALLOW_HOST)" $(VENV)/python -m loadtest.run_locust

seed: install ## load the sample data into the stack that `make run` started
	@$(VENV)/python -m seed.load

fire-drill: install ## send drill alerts the way of real ones (DRILL_ARGS="--service-down")
	@$(VENV)/python -m monitoring.fire_drill $(DRILL_ARGS)

docs: install ## write what the documentation says of settings and metrics
	@$(VENV)/python -m infra.settings_docs
	@$(VENV)/python -m infra.metrics_docs
	@$(VENV)/python -m monitoring.grafana.generate

lock: ## pin the requirements anew; UPGRADE=--upgrade takes the newest versions
	@PYTHON="$(PYTHON)" infra/requirements/lock.sh $(UPGRADE)

clean: ## delete .venv and caches; data stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
