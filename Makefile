# Every command that a developer or a user needs. `make help` lists them.

CARGO ?= cargo
# Debian installs nginx and haproxy in folders that are not in every user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin
# A part of a scenario's name: `make e2e E2E=half_close`.
E2E ?=
# Options of a measurement: `make bench ROUNDS=5 PEERS=weir,nginx WORK=offload,down`.
ROUNDS ?=
SCALE ?=
PEERS ?=
WORK ?=
THREADS ?=
DOCS ?=
# A Debian release to take HAProxy and nginx from, in place of the system's: `make bench SUITE=forky`.
SUITE ?=
BENCH = $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE)) $(if $(PEERS),--peers $(PEERS)) \
	$(if $(WORK),--work $(WORK)) $(if $(THREADS),--threads $(THREADS)) $(if $(DOCS),--docs)
# Built once, if it is missing, in 2 min 12 s on two busy cores. Tests use exactly this version.
DENY = 0.20.2
# Scenarios mostly wait for deadlines, so more scenarios than CPUs run side by side.
export RUST_TEST_THREADS ?= 6

ALL = --workspace --bins --tests
# All test programs but `e2e` and `plane`: cargo takes patterns, and no exceptions. No other one begins with e or p.
OTHERS = --lib --bins --test '[!ep]*'

.PHONY: help build demo test loads processes others peers certs unit e2e fuzz bench microbench scan soak doc fmt lint deny

help: ## show this list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

build: certs ## the release binary, target/release/weir
	$(CARGO) build --release -p weir

demo: ## build weir and run all three modes, with curl commands to try; Ctrl-C ends it
	$(CARGO) run --profile quick -p weir -- demo

# All steps select the same packages and targets: with others, dependencies get other features and are built again.
test: peers fmt lint deny doc ## run every check that a change must pass
	$(CARGO) build $(ALL)
	+$(MAKE) --no-print-directory --keep-going --output-sync=target -j 3 loads processes others

# Scenarios mostly wait, all else mostly computes, and takes the time that they leave. The longest scenarios begin first,
# one at a time: each is a load of its own.
loads:
	$(CARGO) test --workspace --test e2e -- --test-threads 1 under_load
	$(CARGO) test --workspace --test plane

processes:
	$(CARGO) test --workspace --test e2e -- --skip under_load

others:
	nice $(CARGO) test --workspace --no-fail-fast $(OTHERS)

peers: ## install the programs that tests talk to (nginx, haproxy, openssl, curl, strace, promtool, testssl.sh, sslyze)
	packaging/test-peers.sh

certs: ## make demo certificates for the examples in config/, if there are none and openssl is installed
	@[ -e config/certs/ca.pem ] || ! command -v openssl >/dev/null || config/certs.sh

fmt: ## check the format of the code (`cargo fmt` formats it)
	$(CARGO) fmt --all -- --check

lint: ## run clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: target/tools/cargo-deny-$(DENY)/bin/cargo-deny ## check the use, licences and sources of dependencies (deny.toml)
	$< --locked check bans licenses sources

target/tools/cargo-deny-$(DENY)/bin/cargo-deny:
	$(CARGO) install cargo-deny --version $(DENY) --locked --root target/tools/cargo-deny-$(DENY) --target-dir target/tools/build
	rm -rf target/tools/build

doc: ## build the API docs, warnings are errors
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items

unit: ## run unit and property tests, and fuzz bodies over seeds and bounded random inputs
	$(CARGO) test --workspace --exclude weir-tests
	$(CARGO) test -p weir-tests --lib --test fuzz --test allocations

e2e: ## run scenarios, with the real binary and in one process, and real peers; E2E=NAME selects by name
	$(CARGO) build $(ALL)
	$(CARGO) test --workspace --test e2e --test plane -- $(E2E)

fuzz: ## run cargo-fuzz on each target, a minute each (needs a nightly Rust and cargo-fuzz)
	cd tests/fuzz && $(CARGO) +nightly fuzz run hello -- -max_total_time=60
	cd tests/fuzz && $(CARGO) +nightly fuzz run config -- -max_total_time=60
	cd tests/fuzz && $(CARGO) +nightly fuzz run head -- -max_total_time=60
	cd tests/fuzz && $(CARGO) +nightly fuzz run proxy_header -- -max_total_time=60

bench: ## measure weir beside HAProxy, nginx and Envoy, about 25 minutes; ROUNDS= SCALE= PEERS= WORK= THREADS= SUITE=, DOCS=1 for docs/performance.md
	BENCH_SUITE=$(SUITE) packaging/bench-peers.sh
	$(CARGO) build --release -p weir -p weir-benches
	target/release/weir-benches $(BENCH)

scan: peers ## have testssl.sh and sslyze look for all weaknesses that they know, about 3 minutes
	$(CARGO) build -p weir
	WEIR_SCAN=full $(CARGO) test -p weir-tests --test e2e -- --nocapture scanners_find_nothing

microbench: ## run micro benchmarks: hello parse, lists and limits of clients, route look-up, pick, record, metrics
	$(CARGO) bench -p weir-benches

soak: ## run the long forms, for 40 minutes: bulk, connections, reloads, upgrades, backends that fail or restart, big configurations, rotated certificates, at release speed
	$(CARGO) build --profile quick -p weir
	WEIR_BULK_BYTES=1073741824 WEIR_CONNECTIONS=10000 WEIR_RELOADS=1000 WEIR_FALLS=5 WEIR_ROUTES=10000 WEIR_CERTIFICATES=5000 \
	WEIR_ROTATIONS=1000 WEIR_CHANGING=5000 WEIR_CHANGING_SECONDS=20 WEIR_RESTARTS_SECONDS=60 WEIR_RESTARTS_PAUSE=5 WEIR_RESTARTS_REQUESTS=1000000 WEIR_UPGRADES=100 \
	$(CARGO) test --profile quick -p weir-tests --test e2e -- --nocapture --test-threads 1 \
		bulk_arrives_unchanged connections_leave_nothing_behind reloads::under_load reloads::upgrades_under_load backends_fall_under_load big_configurations \
		certificates_rotate_under_load requests_survive
