# Two commands do everything on a fresh machine: `make bench` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

COMMA := ,

# The authors' code: UPSTREAM=DIR is a folder that holds checkouts of all models, UPSTREAM_PATH=DIR the checkout of one.
UPSTREAM_SETTINGS := $(if $(UPSTREAM),'upstream.folder=$(UPSTREAM)') $(if $(UPSTREAM_PATH),'upstream.path=$(UPSTREAM_PATH)')

# Settings of `make bench`, for instance: make bench MODEL=radd,nanodd STEPS=4,16,64 SCHEDULERS=ancestral,confidence SAMPLES=1024
SETTINGS := $(if $(MODEL),'model=$(MODEL)') $(if $(STEPS),'steps=$(STEPS)') $(if $(SCHEDULERS),'schedulers=$(SCHEDULERS)') \
  $(if $(BENCHMARK),'benchmark=$(BENCHMARK)') $(if $(DATA),'data=$(DATA)') $(if $(REFERENCE),'reference=$(REFERENCE)') \
  $(if $(SAMPLES),'samples=$(SAMPLES)') $(if $(SEEDS),'seeds=$(SEEDS)') $(if $(CHECKPOINT),'checkpoint=$(CHECKPOINT)') \
  $(if $(DEVICE),'device=$(DEVICE)') $(if $(TASK),'task=$(TASK)') $(if $(LENGTH),'length=$(LENGTH)') \
  $(if $(BATCH),'batch_size=$(BATCH)') $(if $(METRICS),'metrics=$(METRICS)') $(if $(JUDGE),'judge=$(JUDGE)') \
  $(if $(RUNTIME),'runtime=$(RUNTIME)') $(if $(IMAGE),'image=$(IMAGE)') $(if $(MEMORY),'memory=$(MEMORY)') $(if $(TRACE),'trace=$(TRACE)') \
  $(if $(RUN),'run=$(RUN)') $(if $(ENGINE),'engine=$(ENGINE)') $(if $(BENCHMARK_PATH),'benchmark.path=$(BENCHMARK_PATH)') \
  $(UPSTREAM_SETTINGS) $(OVERRIDES)

# What also runs inside old images.
OLD_PYTHON := adapters/__init__.py $(addprefix adapters/,base.py nested.py texts.py tokenizers.py traces.py upstream.py weights.py parity.py */upstream.py */recording.py */layout.py */mains.py */stand_ins.py */wishes.py diffuseq/texts.py diffuseq/their_data.py) \
  harness/__init__.py harness/worker

# Settings of `make parity`; RECORD=1 writes the goldens too.
PARITY_SETTINGS := $(if $(CHECKPOINT),'checkpoint=$(CHECKPOINT)') $(if $(DEVICE),'device=$(DEVICE)') \
  $(UPSTREAM_SETTINGS) $(OVERRIDES) $(if $(RECORD),--record)

.PHONY: bench compare report export images parity test lint format perf smoke setup clean
bench: $(READY)
	@$(BIN)/tdbench bench $(strip $(SETTINGS)) $(if $(DRY_RUN),--dry-run)

# All images, or those of NAMES=native,radd; on another base than the Dockerfile's: BASE=IMAGE; VARIANT=cpu or cuda.
images: $(READY)
	@$(BIN)/tdbench images $(subst $(COMMA), ,$(NAMES)) $(if $(BASE),--base '$(BASE)') $(if $(VARIANT),--variant '$(VARIANT)') $(if $(DRY_RUN),--dry-run)

parity: $(READY)
	@$(if $(MODEL),,echo 'Which model? make parity MODEL=radd'; exit 2;) $(BIN)/tdbench parity $(MODEL) $(strip $(PARITY_SETTINGS))

test: $(READY)
	$(BIN)/pytest -q $(TESTS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --eval-annotations --violations -t=3.8- $(OLD_PYTHON)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# RUN=a,b for several; FORMAT=parquet,latex or mlflow; TO=FOLDER.
export: $(READY)
	@$(if $(RUN),,echo 'Which run? make export RUN=base'; exit 2;) $(BIN)/tdbench export $(subst $(COMMA), ,$(RUN)) $(if $(FORMAT),--format '$(FORMAT)') $(if $(TO),--to '$(TO)')

# Of several runs, of other machines too: RUN=a,b or RUN=results/a,/elsewhere/results/b; NAME=what the report is called;
# MAX_STEPS=20, MAX_SECONDS=0.5: the budgets of its verdict.
report: $(READY)
	@$(if $(RUN),,echo 'Which run? make report RUN=base'; exit 2;) $(BIN)/tdbench report 'run=$(RUN)' $(if $(NAME),'name=$(NAME)') $(if $(MAX_STEPS),'max_steps=$(MAX_STEPS)') $(if $(MAX_SECONDS),'max_seconds=$(MAX_SECONDS)') $(OVERRIDES)

# Fails where B is worse beyond noise (for the exit codes call tdbench itself); GATE='--metrics mauve,gen_ppl --tolerance 0.02 --max-slowdown 1.10 --strict'.
compare: $(READY)
	@$(if $(and $(A),$(B)),,echo 'Which runs? make compare A=before B=after'; exit 2;) $(BIN)/tdbench compare '$(A)' '$(B)' $(GATE)

perf: $(READY)
	@$(BIN)/python -m harness.perf $(strip $(UPSTREAM_SETTINGS))

# What CI runs of the sweep: every stage, small.
smoke: $(READY)
	$(BIN)/tdbench bench run=smoke steps=2,8 samples=32 batch_size=16 likelihood_samples=16 draws=4

setup: $(READY)
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version). Use: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mauve,evaluate,bertscore,upstream,dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
