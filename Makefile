# Everything below works from a fresh clone with Python 3.11, 3.12 or 3.13 and make; nothing is installed outside $(VENV).
#   make PYTHON=/path/to/python3.12 demo     another interpreter
#   make ARGS=--quick bench                  arguments for what the target runs
#   make VERBOSE=1 demo                      with all that pip says

VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python,\
	$(shell $(name) -c '$(FITS)' >/dev/null 2>&1 && echo $(name))))
VERBOSE ?=
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install $(if $(VERBOSE),,--quiet --quiet) \
	--constraint constraints.txt --editable
FAILED := { echo 'Installing failed; pip says why above. Once mended, run make again (VERBOSE=1 shows all of it).' >&2; exit 1; }
# A test that hangs fails after five minutes, with the stacks of all threads, instead of holding everything up.
HANGS := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true
RIGHT := examples/shout.py --call "shout('abc')"
WRONG := examples/rotate.py --call "rotate([3, 1, 4, 1], 2)"

# A text as one shell word.
quoted = '$(subst ','\'',$(1))'

.PHONY: help demo test lint bench clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    install into $(VENV), then read two predicted runs beside the real ones'
	@echo 'make test    the fast test suite, style and types included'
	@echo 'make lint    style, types and import directions alone'
	@echo 'make bench   speed of recording, decoding and training (ARGS=--quick: under a minute each)'
	@echo 'make clean   remove $(VENV) and caches'

demo: $(VENV)/.installed
	@printf '\n== 1 of 2: a run that the model predicts right\n$$ %s\n' $(call quoted,cwm predict $(RIGHT) --check)
	@$(BIN)/cwm predict $(RIGHT) --check
	@printf '\n== 2 of 2: a run where it errs\n$$ %s\n' $(call quoted,cwm predict $(WRONG) --check)
	@$(BIN)/cwm predict $(WRONG) --check
	@printf '%s\n' '' 'Next, type:' \
		'  source $(BIN)/activate' \
		'  cwm debug examples/rotate.py --call "rotate([3, 1, 4], 1)"   walk a run that has not happened' \
		'  cwm predict examples/count_letters.py --check     three functions, predicted and real' \
		'  cwm trace examples/count_letters.py               only what really happens' \
		'  cwm --help'

test: $(VENV)/.installed-dev
	@echo '== fast test suite (about two minutes on two cores; `pytest -m slow` runs the rest)'
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(HANGS) $(ARGS)

lint: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest tests/test_style.py $(ARGS)

bench: $(VENV)/.installed
	@for script in bench/*.py; do \
		echo "== $$script $(ARGS)"; $(BIN)/python $$script $(ARGS) || exit 1; \
	done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard src/opencwm/*/*.[ch])
	@if [ -z "$(PYTHON)" ]; then \
		echo 'No Python 3.11, 3.12 or 3.13 with venv found. Install one (Debian: python3.11 and python3.11-venv)' >&2; \
		echo 'or name it: make PYTHON=/path/to/python demo' >&2; exit 1; \
	fi
	@echo '== installing OpenCWM into $(VENV) (once; nothing outside that folder is touched)'
	@echo '   1 of 2: a virtual environment of $(PYTHON) (seconds)'
	@$(PYTHON) -m venv $(VENV)
	@echo '   2 of 2: PyTorch and six smaller packages, at the versions of constraints.txt'
	@echo '           (2 to 10 minutes, by your connection; pip is silent meanwhile)'
	@$(INSTALL) . || $(FAILED)
	@touch $@
	@echo '   installed'

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo '== installing what the tests need: pytest, hypothesis, ruff, mypy, import-linter (about a minute)'
	@$(INSTALL) '.[dev]' || $(FAILED)
	@touch $@
