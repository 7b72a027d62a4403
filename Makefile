# The commands of this repository; `make help` lists them. They need root, a Rust toolchain, git and make on
# Debian 12; everything else is installed by scripts/packages. What they leave is in ./var and in one cache folder.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/leister

# One cache for all checkouts, so that a fresh clone does not compile the dependencies again.
export CARGO_TARGET_DIR := $(CACHE)/target
export CARGO_INCREMENTAL := 0

XTASK := cargo run --quiet --locked --package xtask --

.PHONY: help test demo run bench faults cluster cluster-down image clean packages

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

test: packages ## every check and every test; the last line sums them up (ARGS="tests/kube": those suites alone)
	@$(XTASK) test $(ARGS)

demo: packages ## show the whole product at work on a pool of its own, then remove it
	@$(XTASK) demo

run: packages ## serve the instance `leister` in the foreground, its data in ./var/run
	@$(XTASK) run

bench: packages ## measure, beside Docker's local driver and bare btrfs (docs/limits-and-numbers.md)
	@$(XTASK) bench

faults: packages ## cut cables, kill machines and services, fill disks: a table of what came of it (ARGS="-o json node")
	@$(XTASK) faults $(ARGS)

cluster: packages ## a Kubernetes cluster of two machines with storage, to try things on, until Ctrl-C or `make cluster-down`
	@$(XTASK) cluster

cluster-down: ## end it
	@$(XTASK) cluster-down

image: packages ## write the image for containers to ./var/image, without Docker
	@$(XTASK) image

clean: ## remove ./var (with the data of `make run`) and the cache
	@$(XTASK) clean
	@rm -rf "$(CACHE)"

packages:
	@scripts/packages
