# Everything here works on a fresh machine with a Rust toolchain, gcc, Python 3.11 and make. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# One step after the other, also with -j: each uses all cores, and its output is read by people.
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

CARGO ?= cargo
CC := gcc
PYTHON ?= python3
# Where cargo builds; the C library and all programs made from it end up below it.
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
VENV := $(TARGET)/venv
SEEDS ?= 2000
PATHS ?= 4
FILE ?=
PREFIX ?= /usr/local
# Of bench/run.py, such as --publish, --congestion reno, --only '64, quinn'; of bench/icount.py: --accept.
BENCH_ARGS ?=
ICOUNT_ARGS ?=
QUICK ?=
# How often each failover is measured by bars-net.
RUNS ?= 20
# Seconds of full load in which no path may be suspected, for large and for small messages.
CALM ?= 60

export CARGO_TERM_COLOR ?= auto

.PHONY: help setup lib install examples demo test lint loom unit sim coverage python-test test-net bars bars-net bench bench-scale icount clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 14

setup: ## install what the tests need (apt when root, a message otherwise)
	@.ci/setup test

lib: ## build libcdps.so and libcdps.a into target/lib
	@.ci/setup build
	$(CARGO) xtask lib

install: ## install library, header and pkg-config file: make install [PREFIX=/usr/local] [DESTDIR=/]
	@.ci/setup build
	$(CARGO) xtask dist --prefix $(PREFIX) --libdir lib --destdir $(or $(DESTDIR),/)

examples: lib ## build the C examples into target/examples-c
	$(MAKE) -C examples-c OUT=$(TARGET)/examples-c LIB=$(TARGET)/lib

demo: examples ## a file through four paths, with faults: make demo [FILE=path] [PATHS=4]
	$(CARGO) build --release -p cdps-tests --bin cdps-relay
	$(PYTHON) tests/demo/demo.py --bin $(TARGET)/examples-c --relay $(TARGET)/release/cdps-relay --paths $(PATHS) $(if $(FILE),--file '$(FILE)')

test: setup lint unit sim icount python-test test-net ## everything: lints, unit, integration, C, simulator, instructions, Python, network namespaces
	@.ci/setup skipped
	@echo "make test: all passed"

lint: ## rustfmt and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

loom: ## the driver's small protocols between threads, in every order up to a bound (part of unit)
	$(CARGO) test --package cdps --test loom

unit: lib ## unit and integration tests, C programs, header, manifest arrows
	$(CARGO) test --workspace --quiet --no-fail-fast

sim: ## the simulator: make sim [SEEDS=2000]
	$(CARGO) run --release --quiet -p cdps-sim -- --seeds $(SEEDS)

coverage: ## which lines of cdps-core the simulator alone runs, under three minutes: make coverage [SEEDS=2000]
	@.ci/setup coverage
	$(CARGO) xtask coverage --seeds $(SEEDS)

python-test: ## build the wheel, install it into a venv of its own, run its tests
	@.ci/python-test "$(VENV)"

test-net: lib ## faults of networks and nodes, between network namespaces: needs root, under two minutes
	@.ci/setup net || exit 0; \
	$(CARGO) test --quiet --package cdps-tests --test net -- --ignored --nocapture --test-threads=1

bars-net: lib ## how long failovers take, each RUNS times, between network namespaces, five minutes; the machine should be quiet: make bars-net [RUNS=20]
	@.ci/setup net
	CDPS_FAILOVER_RUNS=$(RUNS) $(CARGO) test --quiet --package cdps-tests --test net -- --ignored --nocapture --test-threads=1 failover

bars: lib ## what faults and idleness cost, with figures, four minutes; the machine should be quiet: make bars [CALM=60]
	CDPS_CALM_SECONDS=$(CALM) $(CARGO) test --quiet --package cdps-tests --test bars -- --include-ignored --nocapture --test-threads=1
	CDPS_HELD_SECONDS=$(CALM) $(CARGO) test --quiet --package cdps --test held -- --nocapture

bench: lib ## side by side against its peers, half an hour; QUICK=1: plain C and ZeroMQ only, under three minutes
	@.ci/setup bench
	$(PYTHON) bench/run.py --plan $(if $(QUICK),quick,full) --out $(TARGET)/bench --lib $(TARGET)/lib $(BENCH_ARGS)

bench-scale: lib ## how it grows with threads, paths, ports and delay, twenty minutes
	@.ci/setup bench
	$(PYTHON) bench/run.py --plan scale --out $(TARGET)/bench --lib $(TARGET)/lib $(BENCH_ARGS)

icount: ## instructions and allocations of the engine per message, against what is committed; part of test
	@if ! command -v valgrind >/dev/null; then exit 0; fi; \
	$(CARGO) build --release --quiet -p cdps-bench; \
	$(PYTHON) bench/icount.py --program $(TARGET)/release/cdps-icount $(ICOUNT_ARGS)

clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf bench/results
