# Everything lives in .venv and build; `make clean` removes both.

PYTHON ?= python3
SETUN := .venv/bin/setun
STAMP := .venv/installed

.PHONY: setup demo test bitstream results closeness formal coverage mutants soak fuzz large clean

BOARD ?= icepi-zero

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "setun needs Python 3.11 or later: make PYTHON=python3.11"; exit 2; }
	@for tool in g++ make perl; do command -v $$tool > /dev/null || \
		{ echo "$$tool is not installed: apt-get install $$tool"; exit 2; }; done
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Python has no venv module: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: setup
	$(SETUN) run --prompt "In the beginning" --tokens 32

test: setup
	.venv/bin/python -m pytest -n 2

bitstream: setup
	.venv/bin/python -m tests.bench.bitstreams $(BOARD)

results: setup
	.venv/bin/python -m tests.bench.results

closeness: setup
	$(SETUN) closeness

formal: setup
	.venv/bin/python -m tests.campaigns.prove

coverage: setup
	.venv/bin/python -m tests.campaigns.cover

mutants: setup
	.venv/bin/python -m tests.campaigns.mutants

soak: setup
	.venv/bin/python -m tests.campaigns.soak

fuzz: setup
	.venv/bin/python -m pytest tests/firmware/formats/test_hostile.py --hypothesis-profile fuzz

large: setup
	.venv/bin/python -m tests.campaigns.large

clean:
	rm -rf .venv build
