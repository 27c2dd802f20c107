# `make demo` and `make test` work in a fresh clone, by themselves.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench bench-growth bench-counts docs docs-reference release lock clean

demo: $(READY)
	$(BIN)/ebaysync demo

test: lint docs
	$(BIN)/pytest -q -n 4 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check src tests docs benchmarks .ci
	$(BIN)/ruff format --check src tests docs benchmarks .ci
	$(BIN)/hadolint Dockerfile
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src
	$(BIN)/python .ci/audit.py $(BIN)/pip-audit requirements-embedded.lock requirements-dev.lock

# Round trips and commits of each command, and whether they are within their bounds.
bench-counts: $(READY)
	$(BIN)/pytest -q -s tests/cli/test_round_trips.py

# Speed, memory and WAL beside dlt's and a floor's, into benchmarks/RESULTS.md; half an hour. ROWS="counts wal": those.
ROWS =
bench: $(READY) .venv-bench/.ready
	$(BIN)/python -m benchmarks.run $(if $(ROWS),--rows $(ROWS))

# How cost grows with rows and accounts.
bench-growth: $(READY)
	$(BIN)/python -m benchmarks.growth

.venv-bench/.ready: requirements-bench.lock
	python3 -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	touch $@

# HTML in build/docs. Warnings are errors.
docs: $(READY)
	$(BIN)/sphinx-build -q -W --keep-going -b html -d build/doctrees docs build/docs

docs-reference: $(READY)
	$(BIN)/python docs/generate.py

# Wheel and sdist, built twice and compared byte by byte, the SBOM of what they need, and lock files to install it with.
release: $(READY)
	rm -rf dist build/again
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/hatchling build -d dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/hatchling build -d build/again
	diff -r dist build/again
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o dist/sbom.json
	cp requirements.lock requirements-embedded.lock dist
	cd dist && sha256sum -- * > SHA256SUMS

# Everything with its hash from the lock file, then the checkout itself, editable.
$(READY): requirements-dev.lock pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ebaysync needs Python 3.11 or newer: $$(python3 --version) found" >&2; exit 1; }
	test -x $(BIN)/python || python3 -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Writes the lock files anew: of the image and of users, without PostgreSQL and with it; of the development; of the
# benchmark. Needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra image pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --constraint requirements.lock --extra image --extra embedded pyproject.toml -o requirements-embedded.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra bench pyproject.toml -o requirements-bench.lock

clean:
	rm -rf $(VENV) .venv-bench build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
