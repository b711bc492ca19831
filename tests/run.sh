#!/bin/sh
# Runs every test. Guests, hosts and networks are real, and on a machine without KVM all of them share its processors:
# up to three tests that fail beside the others are run once more, alone. Each is named, and one that fails
# twice has failed.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo_test() {
    rm -f "$work/failed"
    { cargo test --workspace --locked "$@" 2>&1 || touch "$work/failed"; } | tee "$work/log"
    [ ! -e "$work/failed" ]
}
count() { grep -c "$1" "$work/log" || true; }

if cargo_test --no-fail-fast; then exit 0; fi
# What did not build, or ended before it had said what passed, says nothing of the tests that it did not come to.
suites=$(count '^test result: FAILED')
[ "$suites" -gt 0 ] && [ "$suites" -eq "$(count '^error: test failed')" ] || exit 1
# A name that was torn apart by what a test wrote would be lost.
failed=$(awk '/^test result: FAILED/ { sum += $6 } END { print sum + 0 }' "$work/log")
[ "$failed" -gt 0 ] && [ "$failed" -eq "$(count '^test .* \.\.\. FAILED$')" ] || exit 1
names=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$work/log" | sort -u)
number=$(echo "$names" | wc -l)
if [ "$number" -gt 3 ]; then
    echo "run.sh: $number tests failed" >&2
    exit 1
fi

echo "failed beside the others, now alone:" $names
# shellcheck disable=SC2086 # a list of words
cargo_test -- --exact --test-threads 1 $names
passed=$(awk '/^test result: ok/ { sum += $4 } END { print sum + 0 }' "$work/log")
if [ "$passed" -lt "$number" ]; then
    echo "run.sh: of $number tests only $passed were found again" >&2
    exit 1
fi
echo "failed beside the others and passed alone:" $names
