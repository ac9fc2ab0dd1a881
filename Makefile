# The targets that people and CI use. `make` alone lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo build test lint fmt doc bench install

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## Build, then really send a 1 GiB file on this machine (DEMO_MIB=4096 for 4 GiB)
	@CARGO='$(CARGO)' bash scripts/demo.sh

build: ## Build the program: target/release/lanx
	$(CARGO) build --locked --release

test: ## Run all tests
	$(CARGO) test --locked

lint: ## Check the formatting and the lints; every warning is an error
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt: ## Format the source
	$(CARGO) fmt

doc: ## Build the documentation of the library; every warning is an error
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps

bench: ## Measure hashing, sealing, frames and messages
	$(CARGO) bench --locked

install: ## Install lanx for this user
	$(CARGO) install --locked --path .
