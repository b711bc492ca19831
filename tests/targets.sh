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

# Apple's headers may not be passed on. clang compiles for its processors by itself, and these few lines
# are all that ring includes beside what a compiler brings along.
sdk=$(mktemp -d)
trap 'rm -rf "$sdk"' EXIT
mkdir "$sdk/include"
cat >"$sdk/include/TargetConditionals.h" <<'END'
#define TARGET_OS_MAC 1
#define TARGET_OS_IPHONE 0
END
cat >"$sdk/include/assert.h" <<'END'
#define assert(what) ((void)(what))
END
cat >"$sdk/include/string.h" <<'END'
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *at, int byte, size_t count);
int memcmp(const void *one, const void *other, size_t count);
END
for mac in $macs; do
    (
        name=$(echo "$mac" | tr - _)
        export SDKROOT="$sdk" "CC_$name=clang"
        export "CFLAGS_$name=-ffreestanding -isystem $sdk/include"
        check "$mac"
    )
done
