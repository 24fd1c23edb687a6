# make demo: the main job, on a real Kubernetes whose nodes are VMs. make demo-host: on one host, in a disposable VM. make test: all tests. Both install what is missing first.
SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL = help
.PHONY: help setup demo demo-host test

# Where Debian has no clang-14 any more, its own clang compiles the fixed programs.
CARGO = env $(shell command -v clang-14 >/dev/null || echo FERRAGON_CLANG=clang) cargo
STEPS = 11
START := $(shell date +%s)
clock = "$$(date +%T)" "$$(($$(date +%s) - $(START)))"
say = @printf '\n=== %s (after %d s)  step $(1)/$(STEPS): %s\n' $(clock) '$(subst ','\'',$(2))' >&2

help:
	@echo 'make demo       set up, build, and run the walk-through on a real Kubernetes whose nodes are QEMU VMs (as root)'
	@echo 'make demo-host  the same without Kubernetes, in a disposable QEMU VM'
	@echo 'make test       set up and run all tests, on this host and on five kernels in VMs'
	@echo 'make setup      install the Debian packages that all of them need'

setup:
	@.ci/setup

demo: setup
	@$(CARGO) xtask demo

demo-host: setup
	@$(CARGO) xtask demo-host

test: setup
	$(call say,1,formatting)
	$(CARGO) fmt --all --check
	$(call say,2,clippy: warnings are errors (compiles the workspace))
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(call say,3,imports$(comma) licences$(comma) sources; each crate builds alone)
	$(CARGO) xtask deps --check
	$(call say,4,generated files are what their sources say)
	$(CARGO) xtask crds --check
	$(CARGO) xtask fixtures --check
	$(call say,5,what the tests' Kubernetes is made of (about 12 minutes when it is built for the first time))
	$(CARGO) xtask cluster build
	$(call say,6,unit$(comma) file and property tests; tests on the kernel of this host and before a real API server)
	$(CARGO) test --workspace --locked --no-fail-fast
	$(call say,7,fuzzing policies and kernel profiles for one minute)
	$(CARGO) xtask fuzz --seconds 60
	$(call say,8,getting the newest point releases of the test kernels)
	$(CARGO) xtask kernels
	$(call say,9,ferra as a static binary: it builds$(comma) and is small enough)
	$(CARGO) xtask size
	$(call say,10,real kernels in VMs)
	$(CARGO) xtask e2e
	$(call say,11,the chart on a real Kubernetes whose nodes are VMs: installed$(comma) upgraded$(comma) rolled back$(comma) taken away)
	$(CARGO) xtask cluster promises
	@printf '\n=== %s (after %d s)  all tests passed\n' $(clock) >&2

comma := ,
