#!/bin/sh
# Builds the fuzz targets and runs each for $1 seconds. The coverage is the stable compiler's own; no
# sanitizer is needed to find a panic. What was reached is kept under target/fuzz, what broke in
# tests/fuzz/crashes, where the tests of agentd replay it.
set -eu
seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With a target named, build scripts are built without the flags.
RUSTFLAGS=$(echo $coverage) CARGO_TARGET_DIR=$target cargo build --quiet --release --locked \
    --manifest-path "$here/Cargo.toml" --target "$triple"
