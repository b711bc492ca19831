#!/bin/sh
# Asks cargo-deny about licences, bans and sources of every dependency, and about known
# vulnerabilities where their list can be fetched; says so where it cannot. Installs cargo-deny
# into target/tools if the machine has none.
set -eu
cd "$(dirname "$0")/.."

version=0.20.2
tools=$PWD/target/tools
PATH=$tools/bin:$PATH
if ! cargo deny --version >/dev/null 2>&1; then
    echo "installing cargo-deny $version"
    # Built to run once: the optimiser would cost more than it saves.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$tools/build \
        cargo install --quiet --locked --version "$version" --no-default-features \
        --root "$tools" cargo-deny
    rm -rf "$tools/build"
fi

# Also crates that only other targets need: offline it misses them.
cargo fetch --quiet --locked
cargo deny --offline check --hide-inclusion-graph licenses bans sources
if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check advisories
else
    echo "advisories: SKIPPED, their list cannot be fetched from here"
fi
