# make demo | serve | test | test-slow | lint | bench      (PYTHON=python3.12 to choose the interpreter)
PYTHON ?= python3
BIN := .venv/bin

# Exactly one cv2 wheel may be installed: the one that is, or else the one with windows where there is a display.
ifneq ($(wildcard .venv/.cv-*),)
CV := $(patsubst .venv/.cv-%,%,$(firstword $(wildcard .venv/.cv-*)))
else ifneq ($(filter Darwin Windows_NT,$(shell uname -s))$(DISPLAY)$(WAYLAND_DISPLAY),)
CV := gui
else
CV := headless
endif

# Let glibc keep the blocks that a layer frees for the next one (see tctrack.cli.keep_freed_memory).
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824

.PHONY: demo serve test test-slow lint bench clean

demo: .venv/.demo
	$(BIN)/tctrack demo --out demo/output

serve: .venv/.serve
	test -f demo/output/clip.mp4 || $(BIN)/tctrack demo --out demo/output
	$(BIN)/tctrack serve demo/output/clip.mp4

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-slow: .venv/.test
	$(BIN)/python -m pytest -m slow

campaign: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -s -m slow tests/campaign

lint: .venv/.test .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.bench
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks/bench_parts.py

.venv/.demo .venv/.serve .venv/.test .venv/.lint .venv/.bench: .venv/.%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(CV)$(if $(filter-out demo,$*),$(comma)$*)]'
	touch .venv/.cv-$(CV) $@

comma := ,

clean:
	rm -rf .venv demo/output
