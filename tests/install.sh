#!/bin/sh
# Installs what this project needs on a fresh Debian 12 or 13 beside a Rust toolchain, and only what
# is missing: `install.sh build` for building agentd, `install.sh deb` for packages of it,
# `install.sh fuzz` for the fuzz targets, `install.sh` for the tests and the lab too.
set -eu

build="gcc libc6-dev libvirt-dev make pkg-config"
lab="busybox-static iproute2 libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu mount
    qemu-system-x86 tmux util-linux xz-utils"
deb="binutils dpkg-dev"
# Units are checked, and packages are installed in a clean system.
service="debootstrap systemd"
# libvirt asks polkitd what the user of agentd may.
polkit="dbus polkitd"
# A gRPC client in another language.
foreign="libprotobuf-dev protobuf-compiler protobuf-compiler-grpc python3 python3-grpcio
    python3-protobuf"
# promtool checks the metrics and the alert rules, and a real Prometheus reads them.
metrics="prometheus"

case "${1-all}" in
build) wanted=$build ;;
deb) wanted="$build $deb" ;;
fuzz) wanted="$build g++" ;;
all) wanted="$build $deb $lab $service $polkit $foreign $metrics" ;;
*)
    echo "install.sh: unknown part '$1': build, deb, fuzz, or nothing for all" >&2
    exit 2
    ;;
esac

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "install.sh: this is no Debian; install what is in these packages by hand:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "install.sh: only root can install; as root run this again, or" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    # shellcheck disable=SC2086 # a list of words
    apt-get -qq update && apt-get -qq install --yes --no-install-recommends $missing
}
if ! install >"$log" 2>&1; then
    cat "$log" >&2
    echo "install.sh: apt-get could not install:$missing" >&2
    exit 1
fi
# It is there for the tests alone: nobody asked for a service.
case "$missing" in
*prometheus*)
    if [ -d /run/systemd/system ]; then
        systemctl --quiet disable --now prometheus >/dev/null 2>&1 || true
    fi
    ;;
esac
