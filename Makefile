# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

MODEL ?= mobileclip_s1
WEIGHTS ?= auto
TOWER ?= both
OUT ?= artifacts
ARGS ?=
KILLS ?= 50
SEED ?= 0
INPUTS ?= 40000
SECONDS ?= 1500
MODELS ?= mobileclip_s0 mobileclip_s1 mobileclip_s2 mobileclip_b mobileclip2_s0 mobileclip2_s4 clip_vit_b_32 clip_rn50 mobileclip_nano

BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup export-all prove-models train-nano test test-slow test-ci test-servers test-browser test-swift bundle-checks faults reproduce fuzz lint format types bench int8-page nano-accuracy lock readme claims schema picture reference docs docs-check docs-links clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml .python-version scripts/setup.sh
	@scripts/setup.sh

setup: $(READY)  ## bring in uv, Python 3.12 and every dependency, into .venv

export-all: $(READY)  ## the main job: MODEL, WEIGHTS, TOWER, OUT, ARGS
	@$(BIN)/mcconvert --model '$(MODEL)' --weights '$(WEIGHTS)' --tower '$(TOWER)' --out '$(OUT)' $(ARGS)

prove-models: $(READY)  ## export MODELS whole and write docs/models.md; over an hour
	@failed=; for model in $(MODELS); do \
	    $(BIN)/mcconvert --model $$model --weights '$(WEIGHTS)' --out '$(OUT)' $(ARGS) || failed="$$failed $$model"; \
	done; \
	$(BIN)/python -m converter.report.models_page '$(OUT)' docs/models.md configs/proven.yaml; \
	test -z "$$failed" || { echo "not all required rows passed:$$failed" >&2; exit 6; }

train-nano: $(READY)  ## train mobileclip_nano anew on drawn scenes, 25 minutes on 2 cores
	$(BIN)/python scripts/train_nano.py --minutes 25 --out converter/models/bundled/mobileclip_nano.safetensors $(ARGS)

test: $(READY)  ## all tests but the slow ones, two at a time; ARGS='-n 0 tests/parity' for some, one at a time
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

test-slow: $(READY)  ## the long suites: every model of the family
	$(BIN)/pytest -m slow $(ARGS)

test-ci: $(READY)  ## run the CI files that users copy, every step of them, on this machine; some minutes
	$(BIN)/pytest -n 0 -m 'ci or not ci' tests/ci $(ARGS)

test-servers:  ## Debian: the real servers that tests of publishing start; without them these tests are skipped
	apt-get update -q && apt-get install -y -q docker-registry git git-lfs

test-browser:  ## Debian: the browser, node and the JVM that tests of pages and samples start; without them they are skipped
	apt-get update -q && apt-get install -y -q chromium default-jre-headless libandroid-json-org-java
	command -v npm > /dev/null || apt-get install -y -q nodejs npm

test-swift:  ## Debian: the Swift compiler that tests of the Swift sample start, 2.5 GB; without it they are skipped
	@scripts/swift.sh

bundle-checks: $(READY)  ## run the checks of every sample that bundles carry, and record them in converter/bundling/checked.json
	$(BIN)/python -m tests.bundling.record

faults: $(READY)  ## kill, fill, corrupt and misbehave on purpose: KILLS=50 SEED=0; ends in a line of counts
	@FAULTS_KILLS='$(KILLS)' FAULTS_SEED='$(SEED)' $(BIN)/pytest -q -n 2 --dist worksteal -m faults $(ARGS) tests/faults

fuzz: $(READY)  ## feed every reader of foreign files what no program writes, up to 25 minutes; INPUTS, SECONDS
	@$(BIN)/python -m tests.fuzz --inputs '$(INPUTS)' --seconds '$(SECONDS)' $(ARGS)

lint: $(READY)  ## ruff, and format check
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(READY)  ## mend what ruff can mend
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy converter

bench: $(READY)  ## what each file of OUT/MODEL costs; INT8, export time and memory beside the bare library calls; Core ML off a Mac
	@test ! -f '$(OUT)/$(MODEL)/manifest.json' || $(BIN)/mcconvert bench '$(OUT)/$(MODEL)'
	$(BIN)/python -m converter.bench.int8
	$(BIN)/python -m converter.bench.coreml --folder '$(OUT)/mobileclip_s1'
	$(BIN)/python -m converter.bench.export $(ARGS)

int8-page: $(READY)  ## measure INT8 files of the S1 towers beside plain library calls, into docs/int8.md
	$(BIN)/python -m converter.bench.int8 --page docs/int8.md --json '$(OUT)/int8.json' $(ARGS)

nano-accuracy: $(READY)  ## what each file of mobileclip_nano still knows, into docs/nano.md
	@$(BIN)/mcconvert --model mobileclip_nano --target all --out '$(OUT)' $(ARGS) || test $$? -eq 6
	@$(BIN)/mcconvert verify '$(OUT)/mobileclip_nano' --task --jobs 2 --json > '$(OUT)/mobileclip_nano/task.json' || test $$? -eq 6
	@$(BIN)/python -m converter.report.task '$(OUT)/mobileclip_nano/task.json' docs/nano.md

reproduce: MODEL := mobileclip_nano
reproduce: $(READY)  ## export MODEL (mobileclip_nano) in two clones and compare every byte; ARGS are mcconvert's
	@$(BIN)/python -m converter.bench.reproduce --model '$(MODEL)' -- $(ARGS)

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml
	@scripts/setup.sh lock

readme: $(READY)  ## write the last run's tables into README.md and docs/results.md, and its picture
	@$(BIN)/python -m converter.report.readme '$(OUT)/$(MODEL)/manifest.json' README.md docs/results.md
	@$(BIN)/python -m converter.report.results_plot '$(OUT)/$(MODEL)/manifest.json' docs/pictures/results.svg

picture: $(READY)  ## draw the last run's files, kept answers against size, into docs/pictures/results.svg
	@$(BIN)/python -m converter.report.results_plot '$(OUT)/$(MODEL)/manifest.json' docs/pictures/results.svg

claims: $(READY)  ## write into docs/parity.md what the models below OUT say of the usual claims
	@$(BIN)/python -m converter.report.claims '$(OUT)' docs/parity.md

schema: $(READY)  ## write the manifest's JSON schema from the records
	@$(BIN)/python -m converter.publishing.schema

reference: $(READY)  ## write the reference pages of configuration, manifest and exit codes from the code
	@$(BIN)/python -m converter.report.reference docs/reference

docs: $(READY)  ## build the pages into build/docs; a broken link, anchor or label, or a page that no list names, is an error
	@$(BIN)/sphinx-build -q -W --keep-going -n docs build/docs
	@echo "build/docs/index.html"

docs-check: docs  ## the same, and: links as a code host reads them, generated pages up to date
	@$(BIN)/python scripts/check_links.py
	@$(BIN)/python -m converter.report.reference docs/reference --check

docs-links: $(READY)  ## ask every address elsewhere whether it is there; needs a network
	@$(BIN)/sphinx-build -q -b linkcheck docs build/docs-links

clean:  ## remove what exports made; the environment stays
	@test ! -x $(BIN)/mcconvert || $(BIN)/mcconvert clean --out '$(OUT)' --yes
