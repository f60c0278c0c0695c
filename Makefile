PYTHON ?= python3
VENV_PYTHON = .venv/bin/python

.PHONY: lab test notebooks figures bench clean

lab: .venv/lab.stamp   # Jupyter wants to be told that root is meant, as in a container
	$(VENV_PYTHON) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ip=127.0.0.1 notebooks/00_start_here.ipynb

test: .venv/test.stamp
	$(VENV_PYTHON) -m ruff check && $(VENV_PYTHON) -m ruff format --check && $(VENV_PYTHON) -m mypy && $(VENV_PYTHON) tools/lessons.py check
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=120 --ignore tests/browser tests notebooks
	$(VENV_PYTHON) -m pytest tests/browser   # alone, because it measures how fast pictures answer

notebooks: .venv/test.stamp
	$(VENV_PYTHON) tools/lessons.py build

figures: .venv/test.stamp
	$(VENV_PYTHON) -m figures

bench: .venv/bench.stamp
	$(VENV_PYTHON) -m benchmarks

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
