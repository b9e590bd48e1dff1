# Everything a person types. `make demo` and `make test` set up what is missing by themselves.
.PHONY: setup demo demo-down test check bench

setup:            ## what Argosy and its demo need
	@scripts/setup

demo:             ## three machines, an app, a kill, under load; the cluster stays up
	@scripts/setup
	@.venv/bin/python -m examples.demo

demo-down:        ## removes every trace of the demo
	@.venv/bin/python -m examples.demo --down

test:             ## sets up and runs every test
	@scripts/test

check:            ## lint, format, types
	@scripts/check

bench:            ## every figure of docs/benchmarks.md, measured here and now
	@scripts/bench
