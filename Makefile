# Every target makes the virtual environment it needs. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
NODE   := tests/fhir_server_node
MUTMUT := $(VENV)/.mutmut
UV     := $(VENV)/.uv
FLOORS := $(VENV)/floors

.PHONY: help demo test lint types unit format serve knowledge docs postman goldens bench bench-fetch prove fhir-server mutation lock sbom floors clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(STAMP) ## Start the service, fire a fixture over HTTP, print the card as a clinician sees it
	@$(BIN)/cds-service demo

test: lint types unit ## Everything CI runs

lint: $(STAMP) ## Style, imports, security lints
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

unit: $(STAMP) ## All tests
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal

format: $(STAMP) ## Rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: $(STAMP) ## Run the service on http://127.0.0.1:8000
	$(BIN)/cds-service serve

knowledge: $(STAMP) ## Load and cross-check the pathway files
	$(BIN)/cds-service knowledge check

docs: $(STAMP) ## Rewrite the generated parts of the documentation
	$(BIN)/python -m tests.generated

postman: $(STAMP) ## Rewrite the Postman collection from the OpenAPI description
	$(BIN)/python -m tests.postman

goldens: $(STAMP) ## Rewrite the expected answers of the scenarios and print what changed
	$(BIN)/python -m tests.goldens

bench: $(STAMP) ## Load figures against the floor, one table
	$(BIN)/python -m bench.load

bench-fetch: $(STAMP) ## What a request without prefetch waits for, beside its slowest query
	$(BIN)/python -m bench.fetch

prove: $(STAMP) ## Everything the service must withstand, at full size; writes docs/proof.md (an hour and more)
	$(BIN)/python -m bench.faults.prove $(if $(SCALE),--scale $(SCALE))

fhir-server: ## Run a FHIR server in memory on http://127.0.0.1:8080/fhir, for tests by hand; needs Node 20.19 or newer
	@command -v npm >/dev/null || { echo "Node and npm are needed: https://nodejs.org" >&2; exit 2; }
	@cd $(NODE) && { test -e node_modules/.package-lock.json || npm ci --ignore-scripts --no-audit --no-fund; }
	@cd $(NODE) && exec node server.mjs 8080

$(MUTMUT): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutation]'
	@touch $@

mutation: $(MUTMUT) ## Change the deciding code in thousands of ways and count what the tests notice (up to an hour)
	rm -rf mutants
	$(BIN)/mutmut run $(if $(PROCESSES),--max-children $(PROCESSES))
	$(BIN)/python -m tests.mutation

$(UV): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lock]'
	@touch $@

lock: $(UV) ## Pin what the image installs, with hashes; make lock OPTIONS=--upgrade takes the newest versions
	$(BIN)/python -m tests.supply lock $(OPTIONS)

sbom: $(STAMP) ## List what the image installs in dist/sbom.json (CycloneDX)
	$(BIN)/python -m tests.supply sbom dist/sbom.json

floors: $(STAMP) ## Test with the lowest versions that pyproject.toml allows, in a virtual environment of their own
	$(PYTHON) -m venv --clear $(FLOORS)
	$(BIN)/python -m tests.supply floors > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
	  --constraint $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pytest -p no:cacheprovider tests/cds_service tests/conformance tests/test_scenarios.py tests/test_clients.py

clean: ## Remove what the other targets made
	rm -rf $(VENV) dist build mutants $(NODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
