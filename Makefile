PYTHON ?= python3
VENV_PYTHON = .venv/bin/python
# Threads of torch that wait for others give up their core: several times faster on a busy machine.
export GOMP_SPINCOUNT ?= 1000
# Paths and files are UTF-8, whatever the locale says; and settings have a place where there is no home.
export PYTHONUTF8 = 1
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.venv/home
endif

.PHONY: lab test notebooks figures bench bench-gpu clean

# Served from here and not from notebooks/, so that a lesson's link to segformer.html leads somewhere.
lab: .venv/lab.stamp   # Jupyter wants to be told that root is meant, as in a container
	$(VENV_PYTHON) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: .venv/test.stamp
	$(VENV_PYTHON) -m tools.suite

notebooks: .venv/test.stamp
	$(VENV_PYTHON) -m tools.lessons build

figures: .venv/test.stamp
	$(VENV_PYTHON) -m figures && $(VENV_PYTHON) -m segformer_edu export --weights nano --out segformer.html

bench: .venv/bench.stamp
	$(VENV_PYTHON) -m benchmarks && $(VENV_PYTHON) -m benchmarks.tricks && $(VENV_PYTHON) -m benchmarks.widgets && $(VENV_PYTHON) -m benchmarks.page

bench-gpu: .venv/bench.stamp
	$(VENV_PYTHON) -m benchmarks.gpu

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info

# What each target installs; a stamp remembers that it was done, until a requirement changes.
.venv/lab.stamp: EXTRAS = lab,train,hub
.venv/test.stamp: EXTRAS = lab,train,hub,export,test
.venv/bench.stamp: EXTRAS = lab,bench

.venv/%.stamp: pyproject.toml constraints.txt | .venv/bin/pip
	$(VENV_PYTHON) -m pip install --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("segformer_edu needs Python 3.11 or newer, and this is %d.%d: name a newer one, for example make PYTHON=python3.12." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
