# Everything lives in .venv and build; `make clean` removes both.

PYTHON ?= python3
SETUN := .venv/bin/setun
LOCK := tests/requirements.lock
INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(LOCK)

.PHONY: setup demo test lint wheel docs figures bitstream results closeness formal coverage mutants soak shapes fuzz large lock clean

BOARD ?= icepi-zero

setup: .venv/base

.venv/base: pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "setun needs Python 3.11 or later: make PYTHON=python3.11"; exit 2; }
	@for tool in g++ make perl; do command -v $$tool > /dev/null || \
		{ echo "$$tool is not installed: apt-get install $$tool"; exit 2; }; done
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Python has no venv module: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/test: .venv/base
	$(INSTALL) --editable '.[test]'
	@touch $@

.venv/docs: .venv/base
	$(INSTALL) --editable '.[docs]'
	@touch $@

demo: .venv/base
	$(SETUN) run --prompt "In the beginning" --tokens 32

test: .venv/test
	.venv/bin/python -m pytest -n 2 --durations=20

lint: .venv/test
	.venv/bin/ruff check .

wheel: .venv/base
	.venv/bin/python -m tests.campaigns.wheel

docs: .venv/docs
	.venv/bin/sphinx-build -q -W -b html docs build/docs

figures: .venv/test
	.venv/bin/python -m tests.bench.bitstreams icepi-zero --seeds 1 --compare

bitstream: .venv/test
	.venv/bin/python -m tests.bench.bitstreams $(BOARD)

results: .venv/test
	.venv/bin/python -m tests.bench.results

closeness: .venv/base
	$(SETUN) closeness

formal: .venv/test
	.venv/bin/python -m tests.campaigns.prove

coverage: .venv/test
	.venv/bin/python -m tests.campaigns.cover

mutants: .venv/test
	.venv/bin/python -m tests.campaigns.mutants

soak: .venv/test
	.venv/bin/python -m tests.campaigns.soak

shapes: .venv/test
	.venv/bin/python -m tests.campaigns.shapes

fuzz: .venv/test
	.venv/bin/python -m pytest $(addprefix tests/firmware/formats/test_,hostile.py random_structures.py) \
		--hypothesis-profile fuzz

large: .venv/test
	.venv/bin/python -m tests.campaigns.large

# Versions of all that make installs, from a new environment; without what torch brings for one kind of machine.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,docs]'
	build/lock/bin/python -m pip freeze --exclude-editable | \
		sed 's/+[a-z0-9.]*$$//; /^nvidia-/d; /^cuda-/d; /^triton==/d' > $(LOCK)
	rm -rf build/lock

clean:
	rm -rf .venv build
