# The vocabulary of this repository. `make demo` and `make test` need nothing but Python 3.11 or newer.
# VENV=path uses an environment of your own; for `make bench`, BENCH_POSTGRES=postgresql+psycopg://... is an empty
# database and RIVAL=path a checkout of diffusers, whose training scripts ours is measured beside.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
MLFLOW_VENV ?= .venv-mlflow
MLFLOW_STAMP := $(MLFLOW_VENV)/.installed
RIVALS_VENV ?= .venv-rivals
RIVALS_STAMP := $(RIVALS_VENV)/.installed
DEMO_FLAGS ?=
TEST_PROCESSES ?= 2
BENCH_POSTGRES ?=
RIVAL ?=
WITH_RIVALS := --folder build/bench --rivals-python $(RIVALS_VENV)/bin/python

.PHONY: demo test check bench reproduce ui docs screenshots clean help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

demo: $(STAMP)  ## the main job on the shipped shapes world; ends by itself
	$(BIN)/tau demo $(DEMO_FLAGS)

test: $(DEV_STAMP)  ## every test that this machine can run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

check: $(DEV_STAMP)  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

reproduce: $(STAMP)  ## seeds 0, 1, 2 of the main claim; writes docs/reproduction.md (about an hour)
	$(BIN)/python -m benchmarks.reproduction --out docs/reproduction.md

bench: $(DEV_STAMP) $(MLFLOW_STAMP) $(RIVALS_STAMP)  ## every figure: docs/shapes-base.md, docs/benchmarks.md (two hours, 20 GB of disk)
	$(BIN)/python -m benchmarks.shapes_base --out docs/shapes-base.md
	mkdir -p build/bench
	$(BIN)/python -m benchmarks.identification --out docs/benchmarks/identification.json
	$(BIN)/python -m benchmarks.intake --folder build/bench --out docs/benchmarks/intake.json
	$(BIN)/python -m benchmarks.mlflow_registry --mlflow-python $(MLFLOW_VENV)/bin/python --out docs/benchmarks/mlflow.json
	$(BIN)/python -m benchmarks.catalog --database sqlite:///build/bench/catalog.db --out docs/benchmarks/catalog-sqlite.json
	test -z "$(BENCH_POSTGRES)" || \
		$(BIN)/python -m benchmarks.catalog --database "$(BENCH_POSTGRES)" --out docs/benchmarks/catalog-postgresql.json
	$(BIN)/python -m benchmarks.few_steps --work build/few-steps --out docs/benchmarks/few-steps.json
	$(BIN)/python -m benchmarks.job_queue $(if $(BENCH_POSTGRES),--postgres "$(BENCH_POSTGRES)") --out docs/benchmarks/queue.json
	$(BIN)/python -m benchmarks.arithmetic_accuracy $(WITH_RIVALS) --out docs/benchmarks/arithmetic-accuracy.json
	$(BIN)/python -m benchmarks.arithmetic_recompression $(WITH_RIVALS) --out docs/benchmarks/arithmetic-recompression.json
	$(BIN)/python -m benchmarks.arithmetic_composition --folder build/bench --out docs/benchmarks/arithmetic-composition.json
	$(BIN)/python -m benchmarks.arithmetic_bake $(WITH_RIVALS) --out docs/benchmarks/arithmetic-bake.json
	$(BIN)/python -m benchmarks.arithmetic_checks --folder build/bench --out docs/benchmarks/arithmetic-checks.json
	$(BIN)/python -m benchmarks.preview --large-runs 2 --out docs/benchmarks/preview.json
	$(BIN)/python -m benchmarks.slider --out docs/benchmarks/slider.json
	$(BIN)/python -m benchmarks.grid --runs 3 --out docs/benchmarks/grid.json
	$(BIN)/python -m benchmarks.catalog_page --versions 50000 --out docs/benchmarks/catalog-page.json
	test -z "$(RIVAL)" || \
		$(BIN)/python -m benchmarks.distillation --rival "$(RIVAL)" $(WITH_RIVALS) --out docs/benchmarks/distillation.json
	test -z "$(RIVAL)" || ! nvidia-smi >/dev/null 2>&1 || $(BIN)/python -m benchmarks.distillation --device cuda \
		--rival "$(RIVAL)" $(WITH_RIVALS) --out docs/benchmarks/distillation-cuda.json
	$(BIN)/python -m benchmarks.page

ui: $(STAMP)  ## the workbench in the browser, on the demo's registry
	$(BIN)/tau ui --demo

docs: $(DEV_STAMP)  ## rewrite the generated pages of docs/
	$(BIN)/python -m typer ui.cli.main utils docs --name tau --output docs/cli.md

screenshots: $(DEV_STAMP)  ## docs/pages: each page on the demo's registry, dark and light; needs chromium
	$(BIN)/python -m scripts.screenshots

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV). Note: where no CPU build is offered, torch's CUDA build is several GB."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(MLFLOW_STAMP):
	$(PYTHON) -m venv $(MLFLOW_VENV)
	$(MLFLOW_VENV)/bin/python -m pip install --quiet mlflow-skinny sqlalchemy alembic
	@touch $@

$(RIVALS_STAMP): benchmarks/rivals.txt
	$(PYTHON) -m venv $(RIVALS_VENV)
	$(RIVALS_VENV)/bin/python -m pip install --quiet -r benchmarks/rivals.txt
	@touch $@

clean:  ## remove the environment and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
