# The targets that people and CI use. `make` alone lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo build test lint fmt doc deny bench bench-net bench-web fuzz kill-rounds soak root-tests test-page test-browser page-pictures test-discovery test-slurm resume profile install man dist deb picture check-macos dist-static

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## Build, then really send a 1 GiB file on this machine, beside cp (DEMO_MIB=4096 for 4 GiB)
	@CARGO='$(CARGO)' bash scripts/demo.sh

build: ## Build the program: target/release/lanx
	$(CARGO) build --locked --release

test: ## Run the tests, but for the four targets below that need root or half an hour and more
	@# Most of them wait for each other: more at once than there are CPUs.
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} $(CARGO) test --locked --no-fail-fast

lint: ## Check the formatting and the lints; every warning is an error
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt: ## Format the source
	$(CARGO) fmt

check-macos: ## Type-check for macOS, where Rust's library for it is installed; nothing is run (rustup target add)
	@CARGO='$(CARGO)' bash scripts/check-macos.sh

doc: ## Build the documentation of the library; every warning is an error
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps

deny: ## Check the licences, versions and sources of the crates that others wrote (builds cargo-deny once: a minute)
	@CARGO='$(CARGO)' bash scripts/deny.sh

bench: ## Measure the kernels, then lanx in turns with what else is found here (BENCH_MIB, BENCH_TURNS: benches/end_to_end)
	$(CARGO) bench --locked

bench-net: ## The same between network namespaces, at 0.1, 1 and 10 Gbit/s, with delay and loss; as root (LINKS)
	@CARGO='$(CARGO)' bash scripts/bench-net.sh

bench-web: build ## Measure serve, get and the page beside nginx, miniserve, dufs, curl and aria2c, where they are found (WEB_MIB, WEB_TURNS, WEB_ONLY)
	@python3 scripts/bench-web.py "$${CARGO_TARGET_DIR:-target}/release/lanx"

fuzz: ## Run each fuzz target for ten seconds (FUZZ_SECONDS=60, TARGETS="receiving sending")
	@CARGO='$(CARGO)' bash scripts/fuzz.sh

kill-rounds: ## Kill sender and receiver in turn, a hundred times each, and see that nothing is lost (half an hour)
	LANX_KILL_ROUNDS=$${LANX_KILL_ROUNDS:-100} LANX_KILL_MIB=$${LANX_KILL_MIB:-1024} \
	LANX_KILL_FILES=$${LANX_KILL_FILES:-2000} \
	$(CARGO) test --locked --release --test suite kill_rounds:: -- --nocapture --test-threads=1

soak: ## Send to one receiver for an hour while senders are killed and break rules; nothing may grow (SOAK_HOURS=8)
	LANX_SOAK_SECONDS=$$(awk 'BEGIN { print int(3600 * '$${SOAK_HOURS:-1}') }') \
	$(CARGO) test --locked --release --test suite soak:: -- --nocapture

root-tests: ## Run the tests that mount file systems; as root
	$(CARGO) test --locked --test suite full_disk:: -- --ignored --test-threads=1

test-page: ## Test the page of `lanx serve` in a real browser, the most important of it (needs chromium and chromium-driver)
	$(CARGO) test --locked --test suite -- --ignored --test-threads=2 browser::smoke

test-browser: ## The same, all of it, with a file of 2 GiB (LANX_BROWSER_MIB)
	LANX_BROWSER_MIB=$${LANX_BROWSER_MIB:-2048} \
	$(CARGO) test --locked --test suite -- --ignored --test-threads=2 browser

page-pictures: ## Make pictures of the page in each state, in the light and in the dark, in target/page, and those in docs of them
	LANX_PICTURES='$(CURDIR)/target/page' $(CARGO) test --locked --test suite -- --ignored browser_people::pictures
	for width in 360 800 1600; do cp target/page/all-$$width.png docs/page-$$width.png; done

test-discovery: ## Test finding receivers, networks that lose large packets, and senders that move, between network namespaces; as root
	$(CARGO) test --locked --test suite -- --ignored --test-threads=4 discovery::

test-slurm: ## Have Slurm, GNU parallel and fpsync drive lanx on this machine while nodes and receivers go down (needs Debian's packages)
	$(CARGO) build --locked
	LANX=$${LANX:-$${CARGO_TARGET_DIR:-$(CURDIR)/target}/debug/lanx} bash scripts/test-slurm.sh

resume: build ## Measure what resuming costs, with 90 % there (RESUME_MIB, RESUME_TURNS, TMPDIR)
	@bash scripts/resume.sh

profile: build ## Say where the CPU time of both ends goes: perf, and flame graphs (PROFILE_FLAGS="--quic", PROFILE_MIB)
	@bash scripts/profile.sh

man: build ## Write the manual pages and completions: target/man, target/completions
	@bash scripts/manual.sh

dist: man ## Make a tarball with all that belongs to the program: target/dist
	@bash scripts/dist.sh

dist-static: ## The same for programs that need nothing of the system: target/dist (TARGETS="x86_64 aarch64"; adds musl-tools)
	@CARGO='$(CARGO)' bash scripts/dist-static.sh

deb: man ## Make a Debian package with a service: target/debian (needs cargo-deb)
	$(CARGO) deb --no-build --locked

picture: build ## Make docs/terminals.svg anew, from a real run between two hosts that are namespaces (needs tmux)
	@python3 scripts/picture.py "$${CARGO_TARGET_DIR:-target}/release/lanx" docs/terminals.svg

install: ## Install lanx for this user
	$(CARGO) install --locked --path .
