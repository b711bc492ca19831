#!/bin/sh
# Sees whether memctl passes `cargo check` for the other systems that a workstation may run, the C in
# its dependencies compiled by what Debian has for them. Its tests run on Linux alone. Installs what is
# missing: the targets by rustup, and as root the compilers.
set -eu
cd "$(dirname "$0")/.."

windows=x86_64-pc-windows-gnu
macs="x86_64-apple-darwin aarch64-apple-darwin"

missing=
for package in gcc-mingw-w64-x86-64 clang; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "targets.sh: only root can install; as root run this again, or" >&2
        echo "    apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing:$missing"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $missing >/dev/null
fi
rustup --quiet target add $windows $macs

check() {
    echo "memctl for $1"
    cargo check --quiet --locked --package memctl --target "$1"
}

check $windows

# Apple's headers may not be passed on. What ring needs of them is what a compiler brings along for
# programs without any system, and clang compiles for Apple's processors by itself.
sdk=$(mktemp -d)
trap 'rm -rf "$sdk"' EXIT
for mac in $macs; do
    (
        export SDKROOT="$sdk" "CC_$(echo "$mac" | tr - _)=clang"
        export "CFLAGS_$(echo "$mac" | tr - _)=-ffreestanding"
        check "$mac"
    )
done
