#!/bin/sh
# `make run`: agentd on a simulated host, memctl watching it, for half a minute or until Ctrl-C.
# Everything is in a folder of its own, which goes with it.
set -eu
cd "$(dirname "$0")/.."

echo "building; the first time this takes a few minutes"
cargo build --quiet --locked --package agentd --package memctl
bin=${CARGO_TARGET_DIR:-target}/debug
dir=$(mktemp -d)
agent=
finish() {
    trap - EXIT INT TERM
    if [ -n "$agent" ]; then
        kill "$agent" 2>/dev/null || true
        wait "$agent" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

socket=unix://$dir/agentd.sock
"$bin/agentd" run --hypervisor sim:packaging/scenarios/demo.toml --listen "$socket" \
    --state-dir "$dir/state" 2>"$dir/log" &
agent=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -S "$dir/agentd.sock" ] && break
    kill -0 "$agent" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done
sleep 1

say() { printf '\n$ memctl %s\n' "$*"; "$bin/memctl" --host "$socket" "$@"; }
echo "agentd serves the simulated host of packaging/scenarios/demo.toml: four VMs that want memory in turn."
say status
say watch --for 25s || [ $? = 130 ]
say vms
say explain web1
