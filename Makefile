# GNU make; `make help` lists the targets. Every target installs what it needs first (scripts/deps.sh).

.DEFAULT_GOAL := help

# Each recipe uses all processors by itself.
.NOTPARALLEL:

# Where rustup puts cargo, for shells that were started before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
ARGS ?= -- $(TARGET_DIR)/release/ringwatch-workload demo
SECONDS ?= 60
# Kernels that `make test` starts in virtual machines, the slowest first; VM_KERNELS= leaves them out.
VM_KERNELS ?= newest 6.1 5.10
# On each of them one of so many parts of the tests, since they are emulated; `make vm` runs all.
VM_PARTS ?= 3

# Where `make install` puts things: below DESTDIR, which packages set. PROFILE=debug installs a debug build.
PREFIX ?= /usr/local
DESTDIR ?=
PROFILE ?= release

BPF_SOURCES := $(wildcard bpf/*.[ch] bpf/*/*.[ch] xtask/bpf/*.[ch])

SHELL_SCRIPTS := .ci/run $(wildcard scripts/*.sh xtask/src/vm/*.sh)

# Only the program runs as root, never cargo: target/ stays the user's.
SUDO = $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# The nearest directory of a path that exists decides whether root is needed to write there.
INSTALL_SUDO = $(shell d="$(abspath $(DESTDIR)/$(PREFIX))"; while [ ! -e "$$d" ]; do d=$$(dirname "$$d"); done; \
	[ -w "$$d" ] || echo "$(SUDO)")

# What cargo-fuzz passes, except for the sanitizers, which need a nightly compiler.
FUZZ_FLAGS := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_ALL := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
TARGETS ?= $(FUZZ_ALL)

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

.PHONY: run
run: build ## trace the demo's writes; ARGS="..." passes other arguments to `ringwatch trace`
	@$(SUDO) $(TARGET_DIR)/release/ringwatch trace $(ARGS)

.PHONY: build
build: deps ## build the release binaries
	cargo build --release --package ringwatch --package ringwatch-workload

# The file names of a man page or a completion are those that `cargo xtask share` writes.
SHARED := man/man1/ringwatch*.1 bash-completion/completions/ringwatch zsh/site-functions/_ringwatch \
	fish/vendor_completions.d/ringwatch.fish

.PHONY: install
install: build-$(PROFILE) ## install the program, man pages and completions below PREFIX (/usr/local) and DESTDIR
	cargo xtask share $(TARGET_DIR)/share
	$(INSTALL_SUDO) install -D --mode=755 $(TARGET_DIR)/$(PROFILE)/ringwatch "$(DESTDIR)$(PREFIX)/bin/ringwatch"
	cd $(TARGET_DIR)/share && for file in $(SHARED); do \
		$(INSTALL_SUDO) install -D --mode=644 "$$file" "$(abspath $(DESTDIR)$(PREFIX))/share/$$file" || exit; done

.PHONY: uninstall
uninstall: ## remove what `make install` installed
	$(INSTALL_SUDO) rm -f "$(DESTDIR)$(PREFIX)/bin/ringwatch"
	[ ! -d "$(DESTDIR)$(PREFIX)/share" ] || { cd "$(DESTDIR)$(PREFIX)/share" && $(INSTALL_SUDO) rm -f $(SHARED); }

.PHONY: build-release
build-release: build

.PHONY: build-debug
build-debug: deps
	cargo build --workspace --bins --tests

# Parts, so that `make --keep-going` runs all whatever comes of one.
.PHONY: test
test: test-host test-install test-instructions test-vm ## run all tests, here and on the kernels VM_KERNELS; VM_KERNELS= only here

# The kernel-facing tests start the workload's binary, which `cargo test` alone would not build.
.PHONY: test-host
test-host: deps-test ## run the tests on this kernel; the kernel-facing ones as root, through sudo where needed
	cargo build --workspace --bins --tests
	RINGWATCH_FUZZ_SECONDS=60 RINGWATCH_FUZZ_SEED=1 cargo --config 'target."cfg(unix)".runner = "$(CURDIR)/scripts/test-runner.sh"' \
		test --workspace --no-fail-fast

.PHONY: test-install
test-install: deps-test ## install a debug build into a temporary directory, try it, uninstall it
	scripts/test-install.sh

.PHONY: test-instructions
test-instructions: deps-test ## compare the instructions that an event takes with what is recorded
	cargo xtask instructions

.PHONY: test-vm
test-vm: deps-test
ifeq ($(strip $(VM_KERNELS)),)
	@echo "VM_KERNELS is empty: the tests ran on this kernel only" >&2
else
	cargo xtask vm --parts $(VM_PARTS) $(VM_KERNELS)
endif

.PHONY: lint
lint: lint-format lint-clippy lint-docs lint-bpf lint-shell lint-deny lint-rebuild ## check formatting, code, links, scripts, dependencies

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
	cargo xtask lint
	cargo xtask bpf --arch arm64

.PHONY: lint-shell
lint-shell: deps-lint
	shellcheck $(SHELL_SCRIPTS)

# Building cargo-deny takes five minutes of processor time: it runs where somebody has installed it. Advisories come
# from a repository on the network, so DENY="advisories" asks for them.
DENY ?= bans licenses sources
.PHONY: lint-deny
lint-deny:
	@if cargo deny --version >/dev/null 2>&1; then \
		set -x; cargo deny --locked check $(DENY); \
	else \
		echo "NOT CHECKED: licences and sources of dependencies; to check them: cargo install --locked cargo-deny" >&2; \
	fi

# A build script that always runs again makes every build slow.
.PHONY: lint-rebuild
lint-rebuild: deps-lint
	cargo build --workspace --bins --tests
	@again=$$(cargo build --workspace --bins --tests --message-format=json 2>/dev/null | grep '"fresh":false' \
		| sed 's/.*"package_id":"\([^"]*\)".*/\1/' | sort -u); \
	if [ -n "$$again" ]; then echo "a second build, with nothing changed, compiled again:" >&2; echo "$$again" >&2; exit 1; fi

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
bench-hostile: deps-test ## measure what a hostile program can do to the machine while ringwatch traces
	cargo xtask bench --hostile

.PHONY: fuzz-rings
fuzz-rings: deps-test ## for SECONDS (60), compare what randomly made programs did with what ringwatch reports
	cargo build --workspace --bins --tests
	RINGWATCH_FUZZ_SECONDS=$(SECONDS) cargo --config 'target."cfg(unix)".runner = "$(CURDIR)/scripts/test-runner.sh"' \
		test --package ringwatch --test kernel -- fuzz::

.PHONY: vm
vm: deps-vm ## run the kernel-facing tests on all distribution kernels in virtual machines; KERNELS="6.1 newest" chooses
	cargo xtask vm $(KERNELS)

.PHONY: dist
dist: deps ## build one static executable, and an archive of it with man pages and completions
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
