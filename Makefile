# GNU make; `make help` lists the targets. Every target installs what it needs first (scripts/deps.sh).

.DEFAULT_GOAL := help

# Each recipe uses all processors by itself.
.NOTPARALLEL:

# Where rustup puts cargo, for shells that were started before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
ARGS ?= -- $(TARGET_DIR)/release/ringwatch-workload demo
SECONDS ?= 60
# Kernels that `make test` starts in virtual machines; VM_KERNELS= leaves them out.
VM_KERNELS ?= 5.10 6.1 newest

BPF_SOURCES := $(wildcard bpf/*.[ch] bpf/*/*.[ch] xtask/bpf/*.[ch])

# Only the program runs as root, never cargo: target/ stays the user's.
SUDO = $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

# What cargo-fuzz passes, except for the sanitizers, which need a nightly compiler.
FUZZ_FLAGS := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_ALL := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
TARGETS ?= $(FUZZ_ALL)

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

.PHONY: run
run: build ## trace the demo's writes; ARGS="..." passes other arguments to `ringwatch trace`
	@$(SUDO) $(TARGET_DIR)/release/ringwatch trace $(ARGS)

.PHONY: build
build: deps ## build the release binaries
	cargo build --release --package ringwatch --package ringwatch-workload

# Parts, so that `make --keep-going` runs all whatever comes of one.
.PHONY: test
test: test-host test-instructions test-vm ## run all tests, here and on the kernels VM_KERNELS; VM_KERNELS= only here

# The kernel-facing tests start the workload's binary, which `cargo test` alone would not build.
.PHONY: test-host
test-host: deps-test ## run the tests on this kernel; the kernel-facing ones as root, through sudo where needed
	cargo build --workspace --bins --tests
	RINGWATCH_FUZZ_SECONDS=60 RINGWATCH_FUZZ_SEED=1 cargo --config 'target."cfg(unix)".runner = "$(CURDIR)/scripts/test-runner.sh"' \
		test --workspace --no-fail-fast

.PHONY: test-instructions
test-instructions: deps-test ## compare the instructions that an event takes with what is recorded
	cargo xtask instructions

.PHONY: test-vm
test-vm: deps-test
ifeq ($(strip $(VM_KERNELS)),)
	@echo "VM_KERNELS is empty: the tests ran on this kernel only" >&2
else
	cargo xtask vm $(VM_KERNELS)
endif

.PHONY: lint
lint: lint-format lint-clippy lint-docs lint-bpf ## check formatting, clippy, the documentation's links, bpf/ on arm64

.PHONY: lint-format
lint-format: deps-lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	clang-format --dry-run --Werror $(BPF_SOURCES)

.PHONY: lint-clippy
lint-clippy: deps-lint
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: lint-docs
lint-docs: deps-lint
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: lint-bpf
lint-bpf: deps-lint
	cargo xtask bpf --arch arm64

.PHONY: fmt
fmt: deps-lint ## format Rust and BPF C
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	clang-format -i $(BPF_SOURCES)

.PHONY: bench
bench: deps-test ## measure the budget of docs/design.md
	cargo xtask bench

.PHONY: bench-quick
bench-quick: deps-test ## the same, short and less exact
	cargo xtask bench --quick

.PHONY: bench-hostile
bench-hostile: deps-test ## measure what a program can do to the machine while ringwatch looks on
	cargo xtask bench --hostile

.PHONY: fuzz-rings
fuzz-rings: deps-test ## for SECONDS (60), compare what programs made by chance did with what ringwatch tells
	cargo build --workspace --bins --tests
	RINGWATCH_FUZZ_SECONDS=$(SECONDS) cargo --config 'target."cfg(unix)".runner = "$(CURDIR)/scripts/test-runner.sh"' \
		test --package ringwatch --test kernel -- fuzz::

.PHONY: vm
vm: deps-vm ## run the kernel-facing tests on all distribution kernels in virtual machines; KERNELS="6.1 newest" chooses
	cargo xtask vm $(KERNELS)

.PHONY: dist
dist: deps ## build one static executable
	cargo xtask dist

.PHONY: docs
docs: deps ## write the generated documents
	cargo xtask docs

.PHONY: fuzz
fuzz: deps-fuzz ## fuzz each decoder for SECONDS (60); TARGETS="decode fdinfo" chooses
	$(if $(filter-out $(FUZZ_ALL),$(TARGETS)),$(error TARGETS are of: $(FUZZ_ALL)))
	@mkdir -p $(addprefix fuzz/corpus/,$(TARGETS)) fuzz/artifacts
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --manifest-path fuzz/Cargo.toml --release \
		--target $(FUZZ_TARGET) --target-dir $(TARGET_DIR)/fuzz
	@set -e; for target in $(TARGETS); do \
		echo "fuzzing $$target for $(SECONDS) s"; \
		$(TARGET_DIR)/fuzz/$(FUZZ_TARGET)/release/$$target fuzz/corpus/$$target fuzz/seeds/$$target \
			-artifact_prefix=fuzz/artifacts/$$target- -max_len=8192 -timeout=10 -max_total_time=$(SECONDS) \
			-print_final_stats=1 -verbosity=0; \
	done

.PHONY: deps
deps: ## install what building needs
	@scripts/deps.sh run

.PHONY: deps-test
deps-test: ## install what the tests need
	@scripts/deps.sh test

.PHONY: deps-lint
deps-lint: ## install what the lints need
	@scripts/deps.sh lint

.PHONY: deps-fuzz
deps-fuzz: ## install what fuzzing needs
	@scripts/deps.sh fuzz

.PHONY: deps-vm
deps-vm: ## install what the virtual machines need
	@scripts/deps.sh vm

.PHONY: clean
clean: ## remove everything that was built
	cargo clean
