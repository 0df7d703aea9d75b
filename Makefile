# Every target in one line: `make help`. Tools and packages are fetched on first use; nothing outside the tree and the user's cache is touched.
SHELL       := /bin/bash
PYTHON      ?= python3
VENV        := .venv
BIN         := $(VENV)/bin
HARNESS     := PYTHONPATH=tests $(BIN)/python -m harness
NODE        := PYTHONPATH=tests $(BIN)/python -m harness.node
MESH        := PYTHONPATH=tests $(BIN)/python -m harness.mesh
VERSION     := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' operator/egressgateway/__init__.py)
STAMP       := $(VENV)/.installed
# Two workers: files that share no state run side by side, one file stays in one worker. In the order of their names, by which
# the many short ones of unit tests come last and keep both workers busy to the end.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
# The image's Python, where this machine has one: in PATH (a shim of pyenv may be there and do nothing), or among pyenv's.
PYTHON313   ?= $(shell for each in python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python; do "$$each" -c "" 2> /dev/null && echo "$$each" && break; done)

TESTS_313   ?= -m "not mesh and not node and not kind" $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help venv fmt lint type unit test test-313 controlplane node-tier kind demo node-demo bench bench-hostile bench-scale bench-first tools tools-mesh tools-node cluster cluster-down mesh mesh-down mesh-report node node-down run crds chart docs golden lock image audit sbom package check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements-dev.lock pyproject.toml
	@echo "setting up $(VENV) (about a minute)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: $(STAMP) ## Create .venv with the locked packages

demo: $(STAMP) ## The main job, shown end to end on a real API server (KEEP=1 leaves it running)
	@PYTHONPATH=tests $(BIN)/python -m demo $(if $(KEEP),--keep)

node-demo: $(STAMP) tools-node ## The same on a real cluster, by the image and the chart: curl in a pod, the operator killed, a node drained (root; KEEP=1)
	@PYTHONPATH=tests $(BIN)/python -m demo.node $(if $(KEEP),--keep)

test: $(STAMP) tools ## Every tier that can run here, whatever became of those before; the last lines say what became of each
	@$(HARNESS) test -- $(PYTEST_ARGS)

test-313: tools ## The unit and control-plane tiers with Python 3.13, which the image has (TESTS_313=); nothing where it is missing
ifeq ($(PYTHON313),)
	@echo "test-313: there is no Python 3.13 here; nothing is tested" >&2
else
	@$(MAKE) --no-print-directory VENV=.venv-3.13 PYTHON=$(PYTHON313) venv
	@.venv-3.13/bin/python -m pytest -q -p no:cacheprovider $(TESTS_313)
endif

unit: $(STAMP) ## Tests that need no cluster
	@$(BIN)/python -m pytest -m "not controlplane and not mesh and not node and not kind" $(PYTEST_ARGS)

controlplane: $(STAMP) tools ## Tests on a real etcd, kube-apiserver and kube-controller-manager
	@$(BIN)/python -m pytest -m controlplane $(PYTEST_ARGS)

node-tier: $(STAMP) tools-node ## Tests on real nodes, with the operator's image by its chart; needs root on Linux
	@$(BIN)/python -m pytest -m node $(filter-out -n 2 --dist loadfile --no-loadscope-reorder,$(PYTEST_ARGS))

kind: $(STAMP) tools tools-mesh ## The same in a kind cluster, and the real APISIX; needs docker and the Internet
	@EGRESSGATEWAY_NODE_TIER=kind $(BIN)/python -m pytest -m "node or kind" tests/node $(filter-out -n 2 --dist loadfile --no-loadscope-reorder,$(PYTEST_ARGS))

bench: $(STAMP) tools ## Writes, CPU, memory and throughput of 200 objects (OBJECTS=), beside a bare apply loop (KIND=rich: with nearly everything)
	@PYTHONPATH=tests $(BIN)/python -m bench $(if $(OBJECTS),--objects $(OBJECTS)) $(if $(KIND),--kind $(KIND))

bench-hostile: $(STAMP) tools ## What one hostile tenant costs the others: memory, and their edits to Ready (about six minutes)
	@PYTHONPATH=tests $(BIN)/python -m bench --hostile

bench-scale: $(STAMP) ## What grows with the cluster, without an API server: passes, selectors, CPU, memory (SIZES=1000x1000: objects x namespaces; KEEP=dir: build clusters once)
	@PYTHONPATH=tests $(BIN)/python -m bench --scale $(if $(SIZES),--sizes $(SIZES)) $(if $(KEEP),--keep $(KEEP))

bench-first: $(STAMP) tools-mesh ## From kubectl apply to the first request by the gateway, in a mesh: 1 host and 80, alone and beside 500 other objects (OTHERS=, REPETITIONS=; root)
	@PYTHONPATH=tests $(BIN)/python -m bench --first $(if $(OTHERS),--others $(OTHERS)) $(if $(REPETITIONS),--repetitions $(REPETITIONS))

tools: $(STAMP) ## Build and cache etcd, kube-apiserver, kube-controller-manager and kubectl; fetch Helm
	@$(HARNESS) tools > /dev/null

tools-mesh: $(STAMP) ## Build and cache istiod, its agent and istioctl too: a quarter of an hour the first time
	@$(MESH) tools > /dev/null

tools-node: $(STAMP) ## Build and cache the nodes' programs and all images: ten minutes more the first time; needs root on Linux
	@$(NODE) tools > /dev/null

cluster: $(STAMP) ## Start the embedded control plane in the background; last line: its kubeconfig
	@$(HARNESS) cluster

cluster-down: $(STAMP) ## Stop it; its objects are gone
	@$(HARNESS) cluster-down

mesh: $(STAMP) ## The same with istiod and real pods in network namespaces; needs root; last line: its kubeconfig
	@$(MESH) up

mesh-down: $(STAMP) ## Stop it; its objects are gone
	@$(MESH) down

mesh-report: $(STAMP) tools-mesh ## What events cost requests, beside the same manifests applied at once; needs root
	@$(BIN)/python -m pytest -q tests/mesh/report.py -p no:cacheprovider

node: $(STAMP) tools-node ## A real cluster with Istio: kubelet, containerd, two nodes (NODES=); needs root on Linux; last line: its kubeconfig
	@$(NODE) up $(if $(NODES),--nodes $(NODES))

node-down: $(STAMP) ## Stop it; its objects are gone
	@$(NODE) down

run: $(STAMP) ## The operator in the foreground, against $KUBECONFIG; probes and metrics on a free port, which it says (METRICS_PORT=)
	@$(BIN)/egressgw run --log-format human --metrics-port $(or $(METRICS_PORT),0)

fmt: $(STAMP) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

lint: $(STAMP) ## Style, and the import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

type: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

crds: $(STAMP) ## Write crds/ from the models
	@$(BIN)/python -m egressgateway.cli.crds crds

chart: $(STAMP) ## Write the chart's copies of crds/, and the table of values in its README
	@$(HARNESS) chart

docs: $(STAMP) ## Write the field reference of docs/ from the models
	@PYTHONPATH=tests $(BIN)/python -m docs.reference docs/reference

golden: $(STAMP) ## Write the golden files from what is rendered now
	@$(BIN)/python -m pytest -q --update-golden tests/unit/golden tests/unit/plan/test_capabilities.py \
		tests/gitops/test_health.py tests/gitops/test_kustomize.py::test_base_is_what_the_chart_installs tests/docs/test_reference.py

lock: $(STAMP) ## Pin the packages anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev --extra mesh pyproject.toml -o requirements-dev.lock
	@echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header - -o requirements-build.lock

image: ## The operator's image, tagged with its version; needs docker
	@docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) -t egressgateway-operator:$(VERSION) .

audit: $(STAMP) ## Known vulnerabilities of the locked packages, by PyPI's data where they can be had (REQUIRE=1: they must)
	@$(HARNESS) audit $(if $(REQUIRE),--require)

sbom: $(STAMP) ## What is in the image as CycloneDX, in dist/sbom.cdx.json; needs root on Linux
	@$(NODE) sbom dist/sbom.cdx.json > /dev/null

package: $(STAMP) tools ## The chart as dist/egressgateway-operator-VERSION.tgz
	@$(HARNESS) package

check: lint type test ## What CI runs, but for the demo

clean: ## Remove what was made here (the cache of tools stays)
	@rm -rf $(VENV) .venv-3.13 .cluster .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
