# Each target is a line or two; what they need and a new machine lacks is installed first.
.PHONY: run lab test soak bench bench-attacks bench-bursts bench-history bench-policies fuzz install deb lint deny targets

run:            ## agentd on a simulated host, with memctl watching it, for half a minute
	sh tests/install.sh build
	sh packaging/demo.sh

lab:            ## agentd on real VMs under a private libvirtd, with memctl watching it; LAB_STAY=1 leaves it open until Ctrl-C
	sh tests/install.sh
	@echo "Building a release of agentd, memctl and the lab: some ten minutes on two cores, if there is none yet."
	cargo build --quiet --release --locked --package agentd --package memctl --package agentd-tests
	LAB_STAY=$(LAB_STAY) $${CARGO_TARGET_DIR:-target}/release/lab

test: lint deny ## everything that is checked
	LAB_REQUIRED=$$([ "$$(id -u)" = 0 ] && echo 1 || true) sh tests/run.sh
	$(MAKE) soak

soak:           ## SEEDS=N simulated hosts under faults, each judged by every promise; SEED=n shows one
	sh tests/install.sh build
	cargo run --quiet --release --locked --package agentd-tests --bin soak -- \
		$(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

lint:
	sh tests/install.sh
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo check --quiet --locked --manifest-path tests/fuzz/Cargo.toml --no-default-features \
		--target-dir $${CARGO_TARGET_DIR:-target}

targets:        ## whether memctl compiles for Windows and macOS, as far as that can be seen from here
	sh tests/install.sh build
	sh tests/targets.sh

deny:           ## licences, sources and duplicates of every dependency; advisories where they can be had
	sh tests/deny.sh

bench:          ## what a decision and a tick cost, beside what they are compared with
	cargo bench --package agentd-core --bench decide
	cargo bench --package agentd --bench tick
	sh tests/install.sh
	cargo build --quiet --release --locked --package agentd --package memctl --package agentd-tests
	$${CARGO_TARGET_DIR:-target}/release/lab-bench

bench-bursts:   ## bursts that take turns on real VMs, under every way of sharing memory, as a table; FLAGS="--rounds 1" or --calibrate
	sh tests/install.sh
	cargo build --quiet --release --locked --package agentd --package memctl --package agentd-tests
	BENCH_VERSION=$$(git describe --always --dirty 2>/dev/null) \
		$${CARGO_TARGET_DIR:-target}/release/bench-bursts $(FLAGS)

bench-attacks:  ## what attackers cost a tick, attack by attack, as a table; FLAGS="--rounds 24" or "--only PING"
	sh tests/install.sh build
	cargo build --quiet --release --locked --package agentd --package memctl --package agentd-tests
	BENCH_VERSION=$$(git describe --always --dirty 2>/dev/null) \
		$${CARGO_TARGET_DIR:-target}/release/bench-attacks $(FLAGS)

bench-history:  ## what a day of history takes on disk, and of a tick; FLAGS="HOURS VMS"
	sh tests/install.sh build
	cargo bench --package agentd --bench history -- $(FLAGS)

bench-policies: ## every policy on every workload, as tables and plots; SEED=N draws others
	sh tests/install.sh build
	BENCH_VERSION=$$(git describe --always --dirty 2>/dev/null) cargo run --quiet --release --locked \
		--package agentd-tests --bin bench-policies -- $(if $(SEED),--seed $(SEED)) $(FLAGS)

fuzz:           ## what others write, in every odd form, for SECONDS each
	sh tests/install.sh fuzz
	sh tests/fuzz/run.sh $(SECONDS)

install:        ## DESTDIR and PREFIX are honoured; a config that is there is left alone; a new one says observe
	sh tests/install.sh build
	cargo build --release --locked --package agentd --package memctl
	sh packaging/stage.sh agentd $${CARGO_TARGET_DIR:-target}/release "$(DESTDIR)" $(PREFIX)
	sh packaging/stage.sh memctl $${CARGO_TARGET_DIR:-target}/release "$(DESTDIR)" $(PREFIX)

deb:            ## Debian packages of agentd and memctl, in target/debian
	sh tests/install.sh deb
	cargo build --release --locked --package agentd --package memctl
	sh packaging/deb.sh $${CARGO_TARGET_DIR:-target}/release $${CARGO_TARGET_DIR:-target}/debian

PREFIX ?= /usr/local
SEEDS ?= 20000
SECONDS ?= 60
