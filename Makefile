# Everything a newcomer needs: `make compare` (the main job) and `make test`. Both make their own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install compare test check docs bench bench-prepare bench-synthesize million faces study every-loss search-study clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "faceloss needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

compare: install
	$(BIN)/faceloss compare --data builtin --out runs/builtin

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# docs/losses.md and its figures, from the losses themselves; a test fails when they are stale.
docs: install
	$(BIN)/python tools/make_docs.py

# Speed and memory, each figure beside a peer in the same run; some ten minutes.
bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	for table in head autocast headmem pfc; do $(BIN)/python benchmarks/head.py $$table || exit 1; done
	for file in pairs batch6400 train search roc cmc; do $(BIN)/python benchmarks/$$file.py || exit 1; done

# Photographs a second beside facenet-pytorch, which goes into a folder of its own: its pins fit nothing here.
bench-prepare: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[detect]'
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .peer facenet-pytorch==2.6.0
	PYTHONPATH=.peer $(BIN)/python benchmarks/prepare.py

# Generated faces a second; needs the extra `synthetic`.
bench-synthesize: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[synthetic]'
	$(BIN)/python benchmarks/synthesize.py

# A training step with a million classes of 128 dimensions, under 3 GiB.
million: install
	$(BIN)/python benchmarks/million.py

# The study on real faces; FACES is the folder with the face sets, which are not ours to distribute.
FACES ?= ../shared/data
study: install
	$(BIN)/python studies/real_faces.py --faces $(FACES)

# Does every loss train? All of them, three seeds, on the built-in faces; about 75 minutes of one core.
every-loss: install
	$(BIN)/python studies/every_loss.py

# Is it worth searching for the margin? Searches and their controls on the built-in faces; an hour of two cores.
search-study: install
	$(BIN)/python studies/search.py

# Draw the built-in faces anew (two minutes of one core), beside those in the package; needs the extra `synthetic`.
faces: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[synthetic]'
	$(BIN)/faceloss synthesize --identities 160 --images 24 --seed 0 --size 64 --as tar --out runs/builtin_faces

clean:
	rm -rf $(VENV) .peer .mypy_cache .ruff_cache .pytest_cache .hypothesis
