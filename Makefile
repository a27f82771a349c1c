# make demo | test | test-slow | lint | bench      (PYTHON=python3.12 to choose the interpreter)
PYTHON ?= python3
BIN := .venv/bin

# Exactly one cv2 wheel may be installed: the one with windows where there is a display.
ifneq ($(filter Darwin Windows_NT,$(shell uname -s))$(DISPLAY)$(WAYLAND_DISPLAY),)
CV := gui
else
CV := headless
endif

# glibc gives large blocks back to the system after every layer; keeping them makes CPU inference several times faster
# where page faults are dear (virtual machines).
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296

.PHONY: demo test test-slow lint bench clean

demo: .venv/.demo
	$(BIN)/tctrack demo --out demo/output

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-slow: .venv/.test
	$(BIN)/python -m pytest -m slow

lint: .venv/.test .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.demo
	$(BIN)/python tools/bench.py

.venv/.demo .venv/.test .venv/.lint: .venv/.%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(CV)$(if $(filter-out demo,$*),$(comma)$*)]'
	touch $@

comma := ,

clean:
	rm -rf .venv demo/output
