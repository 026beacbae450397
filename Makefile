# `make test` and `make quickstart` set up everything they need; a second run finds it done.

MODEL := .models/SmolLM2-135M-Instruct
PY := .venv/bin/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
INSTALLED := .venv/.installed

# Each of several test processes keeps to one core, and its idle threads do not spin.
ALONE := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

FUZZ_SECONDS ?= 300

.PHONY: help setup check test soak laws fuzz bench quickstart clean

help:
	@echo "make quickstart  fine-tune a small model on examples/lighthouse.jsonl, show its answers before and after"
	@echo "make test        every check and every test"
	@echo "make soak        long repetitions that 'make test' leaves out"
	@echo "make laws        look for counterexamples to the laws in property_tests, at random"
	@echo "make fuzz        read files made and damaged at random for FUZZ_SECONDS (300)"
	@echo "make bench       measure start-up, planning, reading, duplicates, and predicted against known memory"
	@echo "make clean       remove what tests and the quickstart leave; the environment and the model stay"

setup: $(INSTALLED) $(MODEL)

# A broken or half-made environment is made anew; an interrupted installation is finished.
# On a machine with an NVIDIA card torch is left to pip and to what is there already.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it with make PYTHON=..."; exit 1; }
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@if nvidia-smi >/dev/null 2>&1; then grep -v '^torch==' constraints.txt; else cat constraints.txt; fi > .venv/constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint .venv/constraints.txt --upgrade pip
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint .venv/constraints.txt \
		--group dev --editable '.[train,qlora,fp8,parquet,zstd,quantize,verify]'
	@touch $@

$(MODEL): | $(INSTALLED)
	$(PY) tools/smollm2.py $@

check: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) tools/reference.py --check

test: setup check
	@$(ALONE) $(PY) -m pytest -n 2 --dist worksteal -m "not soak"

soak: setup
	@$(ALONE) $(PY) -m pytest -m soak

laws: setup
	@$(ALONE) LAWS_PROFILE=search $(PY) -m pytest -n 2 --dist worksteal property_tests

fuzz: setup
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m tools.fuzz

bench: setup
	$(PY) benchmarks/startup.py
	$(PY) -m benchmarks.planning
	$(PY) -m benchmarks.data_validate
	$(PY) -m benchmarks.memory_accuracy
	$(PY) -m benchmarks.memory_measured
	$(PY) -m benchmarks.data_near
	$(PY) -m benchmarks.data_split
	$(PY) -m benchmarks.data_report
	$(PY) -m benchmarks.export_gguf
	$(PY) -m benchmarks.export_merged

quickstart: setup
	@TOKENIZERS_PARALLELISM=true $(PY) tools/quickstart.py

clean:
	rm -rf quickstart-output* output dist build .fuzz .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests property_tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
