# Every command that a developer or a user needs. `make help` lists them.

CARGO ?= cargo
# Debian keeps nginx and haproxy where not every user looks.
export PATH := $(PATH):/usr/sbin:/sbin
# A part of a scenario's name: `make e2e E2E=half_close`.
E2E ?=
# What is measured, where the defaults are not wanted: `make bench ROUNDS=5 PEERS=weir,nginx WORK=offload,down`.
ROUNDS ?=
SCALE ?=
PEERS ?=
WORK ?=
THREADS ?=
DOCS ?=
BENCH = $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE)) $(if $(PEERS),--peers $(PEERS)) \
	$(if $(WORK),--work $(WORK)) $(if $(THREADS),--threads $(THREADS)) $(if $(DOCS),--docs)
# Built once, when it is missing: 2 min 12 s on two busy cores. Tests use this very version.
DENY = 0.20.2
# Scenarios mostly wait for deadlines, so more of them than CPUs run side by side.
export RUST_TEST_THREADS ?= 6

.PHONY: help build demo test peers certs unit e2e fuzz bench microbench soak doc fmt lint deny

help: ## this list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

build: certs ## the release binary, target/release/weir
	$(CARGO) build --release -p weir

demo: ## build weir and see all three modes work, with curl commands to try; ends with Ctrl-C
	$(CARGO) run --profile quick -p weir -- demo

# One selection of packages for all steps: another one would give dependencies other features, and build them anew.
test: peers fmt lint deny doc ## everything that must pass before a change is done
	$(CARGO) build --workspace
	$(CARGO) test --workspace --no-fail-fast

peers: ## install the programs that tests talk to (nginx, haproxy, openssl, curl, strace, promtool)
	packaging/test-peers.sh

certs: ## demo certificates for the examples in config/, where there are none and openssl is at hand
	@[ -e config/certs/ca.pem ] || ! command -v openssl >/dev/null || config/certs.sh

fmt: ## is the code formatted? (`cargo fmt` formats it)
	$(CARGO) fmt --all -- --check

lint: ## clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: target/tools/cargo-deny-$(DENY)/bin/cargo-deny ## which crates use which, their licences and sources (deny.toml)
	$< --locked check bans licenses sources

target/tools/cargo-deny-$(DENY)/bin/cargo-deny:
	$(CARGO) install cargo-deny --version $(DENY) --locked --root target/tools/cargo-deny-$(DENY) --target-dir target/tools/build
	rm -rf target/tools/build

doc: ## build the API docs, warnings are errors
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items

unit: ## unit and property tests, fuzz bodies over seeds and bounded random inputs
	$(CARGO) test --workspace --exclude weir-tests
	$(CARGO) test -p weir-tests --lib --test fuzz --test allocations

e2e: ## scenarios with the real binary and real peers; E2E=name runs those whose name has it
	$(CARGO) build --workspace
	$(CARGO) test --workspace --test e2e -- $(E2E)

fuzz: ## cargo-fuzz on both targets, a minute each (needs a nightly Rust and cargo-fuzz)
	cd tests/fuzz && $(CARGO) +nightly fuzz run hello -- -max_total_time=60
	cd tests/fuzz && $(CARGO) +nightly fuzz run config -- -max_total_time=60

bench: ## weir beside HAProxy, nginx and Envoy, about 15 minutes; ROUNDS= SCALE= PEERS= WORK= THREADS=, DOCS=1 for docs/performance.md
	packaging/bench-peers.sh
	$(CARGO) build --release -p weir -p weir-benches
	target/release/weir-benches $(BENCH)

microbench: ## micro benchmarks: hello parse, route look-up, pick, record, metrics
	$(CARGO) bench -p weir-benches

soak: ## the long forms, for half an hour: bulk, connections, reloads, backends that fall, big configurations, at release speed
	$(CARGO) build --profile quick -p weir
	WEIR_BULK_BYTES=1073741824 WEIR_CONNECTIONS=10000 WEIR_RELOADS=1000 WEIR_FALLS=5 WEIR_ROUTES=10000 WEIR_CERTIFICATES=5000 \
	$(CARGO) test --profile quick -p weir-tests --test e2e -- --nocapture --test-threads 1 \
		bulk_arrives_unchanged connections_leave_nothing_behind reloads::under_load backends_fall_under_load big_configurations
