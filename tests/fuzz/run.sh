#!/bin/sh
# Builds the fuzz targets and runs each for $1 seconds. The coverage is the stable compiler's own, and
# a panic needs no sanitizer to be found. Inputs that reached something new are kept under
# target/fuzz, those that broke something in tests/fuzz/crashes, where the tests of agentd replay them.
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

# The state's inputs become files: in memory, where that is.
memory=/tmp
[ ! -w /dev/shm ] || memory=/dev/shm
TMPDIR=$(mktemp -d "$memory/agentd-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
failed=
for name in certificate config connection recording request scenario state statistics; do
    corpus=$target/corpus/$name
    crashes=$here/crashes/$name
    mkdir -p "$corpus" "$crashes"
    case $name in
    config) seeds=$here/../../packaging/agentd.toml ;;
    scenario) seeds=$here/../../packaging/scenarios ;;
    *) seeds=$here/seeds/$name ;;
    esac
    cp -R "$seeds" "$corpus/"
    echo "fuzz $name: $seconds s"
    log=$target/$name.log
    "$target/$triple/release/$name" "$corpus" -max_total_time="$seconds" -max_len=8192 -timeout=20 \
        -rss_limit_mb=2048 -artifact_prefix="$crashes/" -print_final_stats=1 >"$log" 2>&1 ||
        failed="$failed $name"
    grep -E '^stat::(number_of_executed_units|average_exec_per_sec|new_units_added)|panicked|ERROR' \
        "$log" | sed 's/^/    /'
    rmdir "$crashes" 2>/dev/null || true
done
rmdir "$here/crashes" 2>/dev/null || true
if [ -n "$failed" ]; then
    echo "fuzz: broken by an input:$failed; see tests/fuzz/crashes and $target/NAME.log" >&2
    exit 1
fi
